"""Multipart forms are read as they arrive, however they are cut."""

from types import SimpleNamespace
from typing import Any

import pytest

from api import uploads
from service.errors import InvalidRequest

BOUNDARY = "----b"
FILE = bytes(range(256)) * 8 + b"\r\n----not-the-end\r\n"


def _form(*parts: tuple[str, bytes]) -> bytes:
    body = b""
    for name, data in parts:
        filename = '; filename="a.npz"' if name == "file" else ""
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        body += head.encode() + data + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def _read(monkeypatch: pytest.MonkeyPatch, body: bytes, step: int) -> tuple[dict[str, str], str | None, bytes]:
    pieces = [body[i : i + step] for i in range(0, len(body), step)]
    monkeypatch.setattr(uploads, "chunks", lambda _: iter(pieces))
    request: Any = SimpleNamespace(headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"})
    form = uploads.Form(request)
    return form.fields, form.filename, b"".join(form.file())


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, 1000, 100_000])
def test_any_cut_gives_the_same_form(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    body = _form(("name", "Größe".encode()), ("target", b""), ("file", FILE))
    assert _read(monkeypatch, body, step) == ({"name": "Größe", "target": ""}, "a.npz", FILE)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (_form(("name", b"x")), "no file"),
        (_form(("file", FILE), ("name", b"x")), "last part"),
        (_form(("file", FILE))[:-20], "ended before"),
        (_form(("name", b"x"), ("name", b"y"), ("file", b"")), "name of its own"),
        (_form(("name", b"\xff"), ("file", b"")), "UTF-8"),
        (_form(("name", b"a\0b"), ("file", b"")), "U\\+0000"),
        (_form(("name", b"x" * 100_000), ("file", b"")), "is this the file"),
        (_form(*[(f"f{i}", b"") for i in range(40)], ("file", b"")), "more than 32 fields"),
        (b"not a form at all", "cannot be read"),
        (b"", "no file"),
    ],
)
def test_what_is_no_such_form_is_told(monkeypatch: pytest.MonkeyPatch, body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        _read(monkeypatch, body, 50)


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("a.npz", "a.npz"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\b.csv", "b.csv"),
        ("", "upload"),
        (None, "upload"),
    ],
)
def test_names_of_files_have_no_folders(given: str | None, plain: str) -> None:
    assert uploads.plain_name(given, "upload") == plain
