"""What is checked before a request reaches a route, and what every answer carries.

Where no key is needed the service speaks to this machine only, and a web page open in the same browser must not reach
it: the Host must be a loopback name (no DNS rebinding), an Origin must be the service's own. With keys a page has none
to send. Always: no CORS header is ever sent, and bodies are limited while they arrive, not after. (That bodies say what
they are, so that no simple cross-site form is one, is checked with the route, api/deps.py: it knows what it takes.)
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import Access, Admitted
from api.deps import Services, media_type
from api.errors import HttpError, answer, known
from api.slow import paced
from service import ids
from service.errors import Forbidden, TooLarge, Unavailable
from service.limits import WINDOW_S, Rate
from service.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
UPLOADS = re.compile(r"/v1/(datasets|checkpoints|families/[^/]+/warps)")
MOST_UPLOADS = 24
"""At once, of one process: of the 40 threads that it has for all."""
UPLOAD_TYPES = frozenset({"multipart/form-data", "application/octet-stream", "application/vnd.safetensors"})
Header = tuple[bytes, bytes]
_REQUEST_ID_HEADER = b"x-request-id"
_NOSNIFF = (b"x-content-type-options", b"nosniff")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Guard:
    """ASGI middleware, the outermost one of ours."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._uploads = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = _request_id(headers)
        rate: list[Rate] = []

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = _marked(message.get("headers", ()), request_id, rate)
            await send(message)

        try:
            admitted = await _admit(services.access, scope, headers, request_id)
            rate += [admitted.rate] if admitted.rate else []
            state["caller"] = admitted.caller
            limit = _check_body(services.settings, scope, headers)
        except Exception as error:
            told = known(error)
            if told is None:
                raise
            await answer(scope, told)(scope, receive, send_marked)
        else:
            body = _limited(paced(receive), limit)
            if _is_upload(scope, headers):
                await self._take_in(scope, body, send_marked)
            else:
                await self.app(scope, body, send_marked)
            if admitted.used:
                await anyio.to_thread.run_sync(services.access.note_use, admitted.used)

    async def _take_in(self, scope: Scope, body: Receive, send: Send) -> None:
        """An upload keeps a thread as long as its client likes, so there is always one left for the others."""
        if self._uploads >= MOST_UPLOADS:
            busy = Unavailable(f"The server takes in {MOST_UPLOADS} uploads at present: try again in a moment.")
            await answer(scope, busy)(scope, body, send)
            return
        self._uploads += 1
        try:
            await self.app(scope, body, send)
        finally:
            self._uploads -= 1


async def _admit(access: Access, scope: Scope, headers: Headers, request_id: str) -> Admitted:
    admitted = await access.admit(scope, headers, request_id)
    if admitted.needed_no_key:
        check_host(headers)
    return admitted


def _marked(headers: Iterable[Header], request_id: str, rate: list[Rate]) -> list[Header]:
    """The headers of an answer, as ASGI has them, with what every answer carries."""
    marked = [pair for pair in headers if pair[0] != _REQUEST_ID_HEADER]
    marked += ((_REQUEST_ID_HEADER, request_id.encode()), _NOSNIFF)
    for each in rate:  # draft-ietf-httpapi-ratelimit-headers-10
        marked.append((b"ratelimit-policy", f'"project";q={each.quota};w={WINDOW_S}'.encode()))
        marked.append((b"ratelimit", f'"project";r={each.left};t={each.wait_s}'.encode()))
    return marked


def _request_id(headers: Headers) -> str:
    """The client's own where it is one that a log can hold, else a new one."""
    given = headers.get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else ids.request_id()


def _check_body(settings: Settings, scope: Scope, headers: Headers) -> int:
    """The most bytes that this request's body may have. Raises TooLarge."""
    limit = settings.max_upload_bytes if _is_upload(scope, headers) else settings.max_body_bytes
    length = headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"The body has {length} bytes; the server accepts {limit}.")
    return limit


def _is_upload(scope: Scope, headers: Headers) -> bool:
    takes_files = scope["method"] == "POST" and UPLOADS.fullmatch(scope["path"]) is not None
    return takes_files and media_type(headers) in UPLOAD_TYPES


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
