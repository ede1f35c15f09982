"""HTTP for the client: retries, idempotency keys, errors. Knows nothing of jobs.

Every POST carries an Idempotency-Key that stays the same over its retries, so a request whose answer got lost is never
executed twice. Waits between tries honour Retry-After; one that asks for more than a minute is an error at once.
"""

import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from warpadam.sdk.decode import Json
from warpadam.sdk.errors import (
    ApiError,
    ConnectionFailed,
    DamagedTransfer,
    UnexpectedAnswer,
    WarpAdamError,
    from_answer,
)
from warpadam.sdk.transport import Transport
from warpadam.sdk.uploading import Upload

Params = Mapping[str, str | int | Sequence[str]]
Show = Callable[[int], None]
"""Is told how many more bytes have travelled."""

UPLOAD_ANSWER_S = 600.0
"""The service reads a dataset before it answers."""
_RETRIED = frozenset({429, 502, 503, 504})
_STILL_RUNS = "idempotency_in_flight"
_LONGEST_WAIT_S = 60.0


class Connection:
    def __init__(self, base_url: str, transport: Transport, *, tries: int) -> None:
        self.base_url = base_url
        self.transport = transport
        self.tries = max(1, tries)

    async def json(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """The decoded answer; {} where it has no content."""
        return self._decoded(await self._send(method, path, headers, lambda: {"params": params, "json": body}))

    async def upload(self, path: str, fields: Mapping[str, str], source: Path, show: Show | None = None) -> Json:
        """Multipart: the fields, then the file, read from the disk as it is sent.

        Raises DamagedTransfer where the service hashed something else than what was read here.
        """
        timeout = httpx.Timeout(30.0, read=UPLOAD_ANSWER_S)
        with source.open("rb") as file:
            upload = Upload(file, show)

            def content() -> Json:
                upload.rewind()
                return {"data": fields, "files": {"file": (source.name, upload)}, "timeout": timeout}

            answer = self._decoded(await self._send("POST", path, None, content))
        if answer.get("sha256") not in (None, upload.sha256):
            raise DamagedTransfer(
                f"{source} arrived as sha256 {answer['sha256']}, but is {upload.sha256} here: did it change meanwhile?"
            )
        return answer

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str] | None = None) -> AsyncIterator[httpx.Response]:
        """One try of a GET whose content is read piece by piece; pieces may be up to 90 s apart."""
        timeout = httpx.Timeout(30.0, read=90.0)
        request = self.transport.build("GET", path, headers=dict(headers or {}), timeout=timeout)
        try:
            answer = await self.transport.send(request)
            try:
                if answer.is_error:
                    await self.transport.read(answer)
                    raise _error(answer)
                yield answer
            finally:
                await self.transport.end(answer)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    async def backoff(self, attempt: int) -> None:
        await self.transport.sleep(backoff_s(attempt))

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str] | None, content: Callable[[], Json]
    ) -> httpx.Response:
        """`content` makes what is sent, anew for each try."""
        headers = {**(headers or {}), **({"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {})}
        was_lost = False
        for attempt in range(1, self.tries + 1):
            try:
                answer = await self.transport.send(self.transport.build(method, path, headers=headers, **content()))
                await self.transport.read(answer)
            except httpx.TransportError as error:
                was_lost = True
                if attempt == self.tries:
                    raise self._unreachable(error) from error
                await self.backoff(attempt)
                continue
            was_deleted = method == "DELETE" and was_lost and answer.status_code == 404
            if not answer.is_error or was_deleted:
                return answer
            refused = _error(answer)
            wait = _retry_in_s(refused, attempt)
            if attempt == self.tries or wait is None or wait > _LONGEST_WAIT_S:
                raise refused
            await self.transport.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _decoded(self, answer: httpx.Response) -> Json:
        """The JSON object of a good answer; {} for none. Raises UnexpectedAnswer where it is something else."""
        if not answer.content and answer.is_success:
            return {}
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict) or answer.is_redirect:
            raise UnexpectedAnswer(
                f"What answers at {self.base_url} is no WarpAdam service: set WARPADAM_URL to where one runs."
            )
        return content

    def _unreachable(self, error: Exception) -> ConnectionFailed:
        return ConnectionFailed(
            f"No answer from {self.base_url} ({error or type(error).__name__}). "
            "Is the service running (`warpadam serve`)? WARPADAM_URL says where to look."
        )


def segment(text: str) -> str:
    """One part of a path: what a person typed names one thing, never another path."""
    return quote(text, safe="")


def checked_url(url: str) -> str:
    """Raises ConnectionFailed for what is no address of a service."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ConnectionFailed(f"{url!r} is no address of a service: WARPADAM_URL looks like http://127.0.0.1:8000.")
    return url.rstrip("/")


def authorization(api_key: str | None) -> dict[str, str]:
    """The header with the key. Raises WarpAdamError, which does not show it, for what can be no key."""
    if not api_key:
        return {}
    if not (api_key.isascii() and api_key.isprintable()):
        raise WarpAdamError("The API key has characters that no key has: copy it again (WARPADAM_API_KEY).")
    return {"Authorization": f"Bearer {api_key}"}


def backoff_s(attempt: int) -> float:
    """Doubles with each attempt up to 5 s; up to half of it is left to chance, so that clients do not come in step."""
    return random.uniform(0.5, 1.0) * min(0.2 * 2.0**attempt, 5.0)


def _retry_in_s(error: ApiError, attempt: int) -> float | None:
    """Seconds until the next try; None where another one is of no use."""
    if error.status not in _RETRIED and error.code != _STILL_RUNS:
        return None
    return backoff_s(attempt) if error.retry_after is None else error.retry_after


def _error(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": answer.text[:300] or answer.reason_phrase}
    return from_answer(answer.status_code, problem, _retry_after_s(answer.headers.get("Retry-After")))


def _retry_after_s(header: str | None) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        at: datetime = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def given(**fields: Any) -> Json:
    """The fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
