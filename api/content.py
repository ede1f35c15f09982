"""Files over HTTP: strong ETags, 304, Range with 206 and 416 (RFC 9110, sections 13 and 14)."""

import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from api import digests
from api.errors import HttpError
from api.problems import Json, header_parameter, headers, problems

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
CHUNK = 1 << 20
MEDIA_TYPE = "application/vnd.safetensors"

_FILE: Json = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_WHICH = ("ETag", "Repr-Digest")
IF_NONE_MATCH = header_parameter("If-None-Match", "ETags that the client has: 304 where one is still right.")
ANSWERS: dict[int | str, Json] = {
    200: {"description": "The file.", "content": _FILE, "headers": headers(*_WHICH)},
    206: {"description": "The bytes that Range names.", "content": _FILE, "headers": headers(*_WHICH, "Content-Range")},
    304: {"description": "The client has it.", "headers": headers(*_WHICH)},
    **problems("range_not_satisfiable"),
}
COLLECTED: dict[int | str, Json] = {**ANSWERS, **problems("collected")}
"""Of a file that retention may remove."""
PARAMETERS: Json = {
    "parameters": [
        IF_NONE_MATCH,
        header_parameter("Range", "One interval: `bytes=0-99`, `bytes=100-`, `bytes=-100`. Others: the whole file."),
        header_parameter("If-Range", "The ETag of what a part is there of; the whole file where it is another one."),
    ]
}
"""`responses` and `openapi_extra` of routes that answer with `respond`."""


@dataclass(frozen=True)
class Content:
    """A file of `size` bytes; `read(start, end)` yields the bytes of that half-open interval."""

    sha256: str
    size: int
    filename: str
    read: Callable[[int, int], Iterator[bytes]]
    path: Path | None = None
    """Where the same bytes are a file on this machine's disk."""
    media_type: str = MEDIA_TYPE

    @property
    def etag(self) -> str:
        return f'"{self.sha256}"'


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def respond(request: Request, content: Content, *, location: str | None = None) -> Response:
    """The whole file, a part of it, or nothing where the client has it already. Raises HttpError 416.

    `location` is the URL that names these very bytes for ever, where there is one: an alias may move.
    """
    is_immutable = location == request.url.path
    headers = {
        "ETag": content.etag,
        "Accept-Ranges": "bytes",
        "Repr-Digest": digests.header(content.sha256),
        "Cache-Control": "private, max-age=31536000, immutable" if is_immutable else "private, no-cache",
    }
    if location:
        headers["Content-Location"] = location
    if names(request.headers.get("if-none-match"), content.etag):
        return Response(status_code=304, headers=headers)
    interval = _interval(request, content)
    start, end = interval or (0, content.size)
    headers["Content-Length"] = str(end - start)
    headers["Content-Disposition"] = f'attachment; filename="{content.filename}"'
    if interval:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{content.size}"
    status = 206 if interval else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=content.media_type)
    if content.path is not None:
        return StreamingResponse(from_file(content.path, start, end), status, headers, content.media_type)
    return StreamingResponse(content.read(start, end), status, headers, content.media_type)


async def from_file(path: Path, start: int, end: int) -> AsyncIterator[bytes]:
    """Bytes `[start, end)` of a file on this machine's disk, read in threads. Raises OSError where it has fewer."""
    file = await anyio.to_thread.run_sync(os.open, path, os.O_RDONLY)
    try:
        while start < end:
            piece = await anyio.to_thread.run_sync(os.pread, file, min(CHUNK, end - start), start)
            if not piece:
                raise OSError(f"{path} ends at {start}, and {end} bytes were promised")
            yield piece
            start += len(piece)
    finally:
        os.close(file)


def names(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match names this; its comparison is weak."""
    if header is None:
        return False
    return header.strip() == "*" or etag in [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _interval(request: Request, content: Content) -> tuple[int, int] | None:
    """The bytes asked for; None means all (no Range, several, one not understood, or If-Range of another file)."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.group() == "bytes=-" or request.headers.get("if-range", content.etag) != content.etag:
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, content.size - int(last)), content.size
    else:
        start, end = int(first), min(int(last) + 1, content.size) if last else content.size
        if last and int(last) < int(first):
            return None
    if start >= content.size or start >= end:
        raise HttpError(416, headers={"Content-Range": f"bytes */{content.size}"})
    return start, end
