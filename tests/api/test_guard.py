"""Without keys the service speaks to this machine only, and to no other page in the same browser."""

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from service.bind import RefusesToStart
from service.settings import Settings


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000", "LOCALHOST:1"])
def test_loopback_names_are_served(plain_client: TestClient, host: str) -> None:
    assert plain_client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "localhost:x", "[::2]", "a@localhost"]
)
def test_other_names_are_refused(plain_client: TestClient, host: str) -> None:
    answer = plain_client.get("/healthz", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_host")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:3000", "file://localhost:8000", ""]
)
def test_other_pages_are_refused(plain_client: TestClient, origin: str) -> None:
    answer = plain_client.post("/v1/jobs/x/cancel", headers={"origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "foreign_origin")


def test_the_own_page_is_served_and_nobody_gets_cors_headers(plain_client: TestClient) -> None:
    answer = plain_client.get("/v1/families", headers={"origin": "http://localhost:8000"})
    assert answer.status_code == 200
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None])
def test_json_must_be_called_json(plain_client: TestClient, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = plain_client.post("/v1/families", content=b'{"name": "f"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("path", ["/v1/datasets", "/v1/checkpoints", "/v1/families/f/warps"])
def test_files_must_be_called_files(plain_client: TestClient, path: str) -> None:
    answer = plain_client.post(path, content=b"x", headers={"content-type": "application/x-www-form-urlencoded"})
    assert answer.status_code == 415


def test_bodies_are_limited_whether_they_tell_their_length_or_not(plain_client: TestClient) -> None:
    big = b'{"name": "' + b"x" * 1_100_000 + b'"}'
    json = {"content-type": "application/json"}
    told = plain_client.post("/v1/families", content=big, headers=json)
    untold = plain_client.post("/v1/families", content=iter([big[:600_000], big[600_000:]]), headers=json)
    assert [told.status_code, untold.status_code] == [413, 413]
    assert told.json()["code"] == untold.json()["code"] == "too_large"


def test_uploads_are_limited_while_they_arrive(plain_client: TestClient) -> None:
    pieces = iter([b"x" * 1_000_000] * 5)
    kind = {"content-type": "application/octet-stream"}
    assert plain_client.post("/v1/checkpoints", content=pieces, headers=kind).status_code == 413


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_any_other_bind_refuses_to_start(host: str, sqlite_url: str) -> None:
    with pytest.raises(RefusesToStart, match="no keys"):
        create_app(Settings(host=host, database_url=sqlite_url))
