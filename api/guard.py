"""What is checked before a request reaches a route, and what every answer carries.

Without keys the service speaks to this machine only, and a web page open in the same browser must not reach it: the
Host must be a loopback name (no DNS rebinding), an Origin must be the service's own, JSON bodies must say so (no simple
cross-site forms), and no CORS header is ever sent. Bodies are limited while they arrive, not after.
"""

import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import HttpError, answer, problem
from service.errors import Forbidden, ServiceError, TooLarge
from service.ids import new_id
from service.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
UPLOADS = re.compile(r"/v1/(datasets|checkpoints|families/[^/]+/warps)")
UPLOAD_TYPES = frozenset({"multipart/form-data", "application/octet-stream", "application/vnd.safetensors"})


class RefusesToStart(Exception):
    """The settings would open the service to others without keys."""


def check_bind(settings: Settings) -> None:
    """Raises RefusesToStart unless the service is bound to loopback: it has no keys."""
    if settings.host.strip("[]") not in LOOPBACK:
        raise RefusesToStart(
            f"The service has no keys, so it does not listen on {settings.host}: whoever reached it could use it. "
            "Use WARPADAM_HOST=127.0.0.1 (or --host 127.0.0.1) and reach it from elsewhere through an SSH tunnel."
        )


class Guard:
    """ASGI middleware, the outermost one of ours."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        headers = Headers(scope=scope)
        try:
            check_host(headers)
            limit = self._check_body(scope, headers)
        except ServiceError as error:
            await answer(scope, error)(scope, receive, send_marked)
        except HttpError as error:
            response = problem(scope, error.status_code, "unsupported_media_type", error.detail)
            await response(scope, receive, send_marked)
        else:
            await self.app(scope, _limited(receive, limit), send_marked)

    def _check_body(self, scope: Scope, headers: Headers) -> int:
        """The most bytes that this request's body may have."""
        is_upload = False
        if _has_body(headers):
            kind = headers.get("content-type", "").split(";")[0].strip().lower()
            takes_files = scope["method"] == "POST" and UPLOADS.fullmatch(scope["path"]) is not None
            is_upload = takes_files and kind in UPLOAD_TYPES
            if not is_upload and kind != "application/json":
                files = " or a file as multipart/form-data or application/octet-stream" if takes_files else ""
                raise HttpError(415, f"Send JSON with Content-Type: application/json{files}.")
        limit = self.settings.max_upload_bytes if is_upload else self.settings.max_body_bytes
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            raise TooLarge(f"The body has {length} bytes; the server accepts {limit}.")
        return limit


def check_host(headers: Headers) -> None:
    """Raises Forbidden unless Host is a loopback name and Origin, if there is one, the same place."""
    host = headers.get("host", "")
    if _hostname(host) not in LOOPBACK:
        raise Forbidden("This service answers to localhost, 127.0.0.1 and [::1] only.", code="foreign_host")
    origin = headers.get("origin")
    if origin is not None and (urlsplit(origin).scheme not in ("http", "https") or urlsplit(origin).netloc != host):
        raise Forbidden("Requests from other web pages are refused.", code="foreign_origin")


def _hostname(host: str) -> str | None:
    if not re.fullmatch(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?", host):
        return None
    return urlsplit(f"//{host}").hostname


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _limited(receive: Receive, limit: int) -> Receive:
    """`receive` that ends a body longer than `limit`, whatever its Content-Length said."""
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > limit:
                raise HttpError(413, f"The body is larger than the {limit} bytes that the server accepts.")
        return message

    return counted
