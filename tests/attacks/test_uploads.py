"""Bodies that never end, that lie about themselves, and names that lead elsewhere, over HTTP."""

import base64
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.testclient import TestClient

from api import uploads
from api.deps import Services
from service.errors import InvalidRequest
from tests.api.conftest import MAX_UPLOAD_BYTES
from tests.api.made import npz, warp_file

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.npz"\r\n\r\n'


def form_of(monkeypatch: pytest.MonkeyPatch, pieces: Iterator[bytes]) -> uploads.Form:
    monkeypatch.setattr(uploads, "chunks", lambda _: pieces)
    request: Any = SimpleNamespace(headers={"content-type": "multipart/form-data; boundary=b"})
    return uploads.Form(request)


ENDLESS = {
    "before the first boundary": itertools.repeat(b"\r\n" * 4096),
    "in a part's header": itertools.chain([b"--b\r\nContent-"], itertools.repeat(b"x" * 4096)),
    "in a part's header's value": itertools.chain([b"--b\r\nContent-Type: "], itertools.repeat(b"x" * 4096)),
    "in headers": itertools.chain([b"--b\r\n"], itertools.repeat(b"A: b\r\n" * 1000)),
    "in fields": itertools.repeat(b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'),
    "after the file": itertools.chain([HEAD, b"data\r\n--b--\r\n"], itertools.repeat(b"x" * 4096)),
}


@pytest.mark.parametrize("where", ENDLESS)
def test_a_form_without_end(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    bounded = itertools.islice(ENDLESS[where], 100_000)
    with pytest.raises(InvalidRequest):
        list(form_of(monkeypatch, bounded).file())
    assert next(bounded, None) is not None, "it was read to its end"


def left(services: Services) -> list[Path]:
    return [path for path in Path(services.settings.storage).rglob("*") if path.is_file()]


def test_a_file_without_end_leaves_nothing(client: TestClient, services: Services) -> None:
    def endless() -> Iterator[bytes]:
        yield HEAD
        yield from itertools.repeat(b"x" * 65536, 2 * MAX_UPLOAD_BYTES // 65536)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    answer = client.post("/v1/datasets", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert left(services) == []


@pytest.mark.parametrize("name", ["../../../etc/passwd", "/etc/passwd", "..\\..\\x", "a\r\nSet-Cookie: b", "", "."])
def test_names_of_files_lead_nowhere(client: TestClient, services: Services, name: str) -> None:
    answer = client.post("/v1/datasets", files={"file": (name, npz())})
    if answer.status_code == 201:
        assert not set(answer.json()["name"]) & set("/\\\r\n")
    sha256 = hashlib.sha256(npz()).hexdigest()
    assert [path.name for path in left(services)] in ([], [sha256])
    assert "\n" not in str(answer.headers)


def digest_of(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_downloads_say_their_digest(client: TestClient) -> None:
    client.post("/v1/families", json={"name": "f"})
    assert client.post("/v1/families/f/warps", files={"file": ("p", warp_file())}).status_code == 201
    for headers in ({}, {"Range": "bytes=3-9"}):
        answer = client.get("/v1/families/f/warps/1/content", headers=headers)
        assert answer.headers["repr-digest"] == digest_of(warp_file())


def test_a_digest_that_fits_is_taken(client: TestClient) -> None:
    good = hashlib.sha256(npz()).hexdigest()
    for sha256 in (good, good.upper()):
        answer = client.post("/v1/datasets", data={"sha256": sha256}, files={"file": ("a.npz", npz())})
        assert (answer.status_code, answer.json()["sha256"]) == (201, good)


@pytest.mark.parametrize(
    ("header", "digest", "code"),
    [
        ("content-digest", digest_of(b"other"), "digest_mismatch"),
        ("repr-digest", f"md5=:AAAA:, {digest_of(b'other')}", "digest_mismatch"),
        ("content-digest", "sha-256=abc", "invalid_request"),
        ("content-digest", "sha-256=:AAAA:", "invalid_request"),
        ("content-digest", "sha-256=:%%%:", "invalid_request"),
        ("sha256", "0" * 64, "digest_mismatch"),
        ("sha256", "zz", "invalid_request"),
    ],
)
def test_a_digest_that_does_not_fit_leaves_nothing(
    client: TestClient,
    services: Services,
    header: str,
    digest: str,
    code: str,
) -> None:
    files = {"file": ("w.safetensors", b"weights")}
    for path in ("/v1/datasets", "/v1/checkpoints"):
        as_field = header == "sha256"
        answer = client.post(
            path,
            files=files,
            data={header: digest} if as_field else {},
            headers={} if as_field else {header: digest},
        )
        assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, code, header)
    assert left(services) == []
