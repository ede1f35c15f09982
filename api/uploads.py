"""Uploads: read chunk by chunk as they arrive, so that a file of any size passes through without being held.

Endpoints are plain functions in worker threads: `chunks` fetches each piece of the body from the event loop.
A file comes as the body itself (application/octet-stream) or as the last part of a multipart form, after its fields.
"""

from collections.abc import Iterator

import anyio.from_thread
from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from api import digests
from service.errors import InvalidRequest

MAX_FIELD_BYTES = 64 * 1024
MAX_FIELDS = 32
MAX_BEFORE_FILE = MAX_FIELDS * MAX_FIELD_BYTES
MAX_AFTER_FILE = 64 * 1024
"""Bytes of a form around its file: a body without end is no reason to read without end."""


def chunks(request: Request) -> Iterator[bytes]:
    """The body's pieces; call it from a plain endpoint's thread.

    Raises InvalidRequest where the client goes away, and at the end where the body is not what its digest headers say.
    """
    pieces = _pieces(request)
    for name, sha256 in digests.of_body(request.headers).items():
        pieces = digests.checked(pieces, sha256, name)
    return pieces


def _pieces(request: Request) -> Iterator[bytes]:
    stream = request.stream()

    async def following() -> bytes | None:
        return await anext(stream, None)

    try:
        while (piece := anyio.from_thread.run(following)) is not None:
            if piece:
                yield piece
    except ClientDisconnect as error:
        raise InvalidRequest("The upload ended before its end.") from error


def plain_name(filename: str | None, default: str) -> str:
    """What the user called the file, without folders and characters that do not print."""
    name = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in name if c.isprintable())[-255:] or default


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


def file_chunks(request: Request) -> Iterator[bytes]:
    """The uploaded file's bytes, whichever way they were sent. Raises InvalidRequest."""
    if not is_form(request):
        return chunks(request)
    form = Form(request)
    sha256 = form.fields.pop("sha256", None) or None
    unknown = next(iter(form.fields), None)
    if unknown is not None:
        raise InvalidRequest("unknown field; send the file, and before it sha256 or nothing", param=unknown)
    return digests.checked(form.file(), sha256)


class Form:
    """A multipart form: `fields` are those before the file; `file()` yields the file's bytes, once.

    Raises InvalidRequest for what is no such form, for a field after the file, and for a form without a file.
    """

    def __init__(self, request: Request) -> None:
        _, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary")
        if not boundary:
            raise InvalidRequest("The multipart form names no boundary in its Content-Type.")
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self._source = chunks(request)
        self._parts = _Parts(boundary)
        before = 0
        while not self._parts.in_file:
            if before > MAX_BEFORE_FILE:
                raise InvalidRequest(
                    f"No file begins within the first {MAX_BEFORE_FILE} bytes of the form.", param="file"
                )
            piece = next(self._source, None)
            if piece is None:
                raise InvalidRequest("The form has no file: add one as its last part, named file.", param="file")
            before += len(piece)
            self._parts.write(piece)
        self.fields, self.filename = self._parts.fields, self._parts.filename

    def file(self) -> Iterator[bytes]:
        yield from self._parts.take()
        after = 0
        for piece in self._source:
            after += len(piece) if self._parts.ended else 0
            if after > MAX_AFTER_FILE:
                raise InvalidRequest("The body goes on after the end of its form.", param="file")
            self._parts.write(piece)
            yield from self._parts.take()
        if not self._parts.ended:
            raise InvalidRequest("The upload ended before its end.", param="file")


class _Parts:
    """Collects fields, and the pieces of the one file, as a parser finds them."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.in_file = False
        self.ended = False
        self._pieces: list[bytes] = []
        self._header, self._value, self._disposition = b"", b"", b""
        self._name, self._data = "", bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    def write(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise InvalidRequest(f"The multipart form cannot be read: {error}") from error

    def take(self) -> list[bytes]:
        pieces, self._pieces = self._pieces, []
        return pieces

    def _begin(self) -> None:
        if self.in_file:
            raise InvalidRequest("The file must be the form's last part: put the fields before it.", param="file")
        if len(self.fields) >= MAX_FIELDS:
            raise InvalidRequest(f"The form has more than {MAX_FIELDS} fields.")
        self._disposition, self._data = b"", bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        filename = options.get(b"filename")
        if self._name == "file":
            self.in_file = True
            self.filename = filename.decode("utf-8", "replace") if filename else None
        elif self._name in self.fields or not self._name:
            raise InvalidRequest("Each part of the form needs a name of its own.", param=self._name or None)

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self.in_file:
            self._pieces.append(data[start:end])
            return
        self._data += data[start:end]
        if len(self._data) > MAX_FIELD_BYTES:
            raise InvalidRequest(f"A field may have {MAX_FIELD_BYTES} bytes; is this the file?", param=self._name)

    def _on_part_end(self) -> None:
        if not self.in_file:
            self.fields[self._name] = self._text()

    def _text(self) -> str:
        try:
            text = self._data.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest("The field is not UTF-8 text.", param=self._name) from error
        if "\0" in text:
            raise InvalidRequest("Text may not contain the character U+0000.", param=self._name)
        return text

    def _on_end(self) -> None:
        self.ended = True
