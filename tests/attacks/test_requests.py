"""Requests that want to be more than they are: text that becomes a header or a line of a log, addresses and paths that
lead elsewhere, JSON that explodes, keys that are guessed by the clock."""

import hmac
import json
import logging
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.deps import Services
from service import clock, keys, tokens
from service.access import COMMAND, Caller
from service.errors import Unauthenticated
from tests.api.made import npz, spec, warp_file

JSON = {"content-type": "application/json"}

INJECTIONS = ["a\r\nSet-Cookie: b=c", "a\nFAKE 200 OK", "a\x1b[2J", "a\u2028b", "a" * 65, "${jndi:ldap://x}", "<b>", ""]


@pytest.mark.parametrize("text", INJECTIONS)
def test_a_request_id_is_one_word_or_ours(plain_client: TestClient, text: str) -> None:
    scope_headers = {"x-request-id": text.encode("utf-8", "replace")}
    answer = plain_client.get("/v1/jobs/none", headers=scope_headers)  # type: ignore[arg-type]
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "set-cookie" not in answer.headers


PATHS = ["%0d%0aSet-Cookie:%20a=b", "%0aFAKE", "%1b%5b2J", "..%2f..%2fetc%2fpasswd", "%2e%2e", "%00", "%ff", "a%2fb"]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_becomes_no_header_no_line_and_no_file(
    plain_client: TestClient, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plain_client.post("/v1/families", json={"name": "known"})
    for url in (
        f"/v1/jobs/{path}",
        f"/v1/families/{path}/warps/1/content",
        f"/v1/families/known/warps/{path}/content",
        f"/v1/families/known/aliases/{path}",
        f"/v1/jobs/{path}/checkpoints/best/content",
        f"/static/{path}",
    ):
        answer = plain_client.get(url)
        assert answer.status_code in (404, 422), url
        assert answer.headers["content-type"] == "application/problem+json"
        assert "set-cookie" not in answer.headers
        assert "root:" not in answer.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("api", "service"))]
    assert [line for line in ours if not line.isprintable()] == []


def test_names_in_a_download_are_ours(client: TestClient) -> None:
    client.post("/v1/families", json={"name": "f"})
    client.post("/v1/families/f/warps", files={"file": ('x"\r\nA: b', warp_file())})
    answer = client.get("/v1/families/f/warps/latest/content")
    assert answer.headers["content-disposition"] == 'attachment; filename="f-1.safetensors"'


URIS = [
    "/etc/passwd",
    "../../etc/passwd",
    "file:///etc/passwd",
    "local:///etc/passwd",
    "{root}/../../../etc/passwd",
    "{root}/link",
    "simplecache::file:///etc/passwd",
    "zip://x::https://example.com/a.zip",
    "http://127.0.0.1:1/x.csv",
    "http://2130706433/x.csv",
    "http://0x7f000001/x.csv",
    "http://0177.0.0.1/x.csv",
    "http://127.1/x.csv",
    "http://[::1]/x.csv",
    "http://[::ffff:127.0.0.1]/x.csv",
    "http://[fe80::1%25eth0]/x.csv",
    "http://169.254.169.254/latest/meta-data/",
    "http://localhost/x.csv",
    "http://user:pw@192.0.2.1/x.csv",
    "http://192.0.2.1\\@127.0.0.1/x.csv",
    "http://192.0.2.1#@127.0.0.1/\r\nHost: x",
    "ftp://192.0.2.1/x.csv",
    "gopher://127.0.0.1:6379/_SET",
    "dict://127.0.0.1:11211/",
    "s3://bucket/x.npz",
    "hf://datasets/x",
    "memory://x",
    "data:text/csv,a",
]


@pytest.mark.parametrize("uri", URIS)
def test_an_address_leads_nowhere_inside(plain_client: TestClient, uri: str) -> None:
    services: Services = plain_client.app.state.services  # type: ignore[attr-defined]
    (root,) = services.settings.data_roots
    (root / "link").symlink_to("/etc/passwd")
    uri = uri.replace("{root}", str(root))
    answer = plain_client.post("/v1/datasets", json={"uri": uri})
    assert (answer.status_code, answer.json()["param"]) == (422, "uri"), answer.text
    assert "root:" not in answer.text
    job = spec("") | {"dataset": {"uri": uri}}
    assert plain_client.post("/v1/jobs", json=job).status_code == 422
    assert plain_client.get("/v1/datasets").json()["data"] == []


EXPLODING = {
    "depth": b"[" * 200_000,
    "depth of mappings": b'{"a":' * 100_000,
    "digits": b'{"name":' + b"9" * 5000 + b"}",
    "an exponent": b'{"name": "f", "start_step": 1e999}',
    "not a number": b'{"name": "f", "start_step": NaN}',
    "half a surrogate": b'{"name": "\\ud800"}',
    "no UTF-8": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("kind", EXPLODING)
@pytest.mark.parametrize("path", ["/v1/families", "/v1/datasets", "/v1/jobs"])
def test_json_that_explodes(plain_client: TestClient, kind: str, path: str) -> None:
    answer = plain_client.post(path, content=EXPLODING[kind], headers=JSON)
    assert answer.status_code in (400, 422)
    assert len(answer.content) < 10_000


@pytest.mark.parametrize(
    "query", ["family=f{}", "metadata[k]=f{}", "metadata[k{}]=f", "state=queued", "name{}=x", "limit={}"]
)
def test_queries_as_long_as_the_server_reads(plain_client: TestClient, query: str) -> None:
    """uvicorn reads heads of 64 KiB, so no query is longer."""
    parts: list[str] = []
    while sum(map(len, parts)) + len(parts) < 60_000:
        parts.append(query.format(len(parts)))
    answer = plain_client.get("/v1/jobs?" + "&".join(parts))
    assert answer.status_code in (200, 422), answer.text[:300]


ONE = b'"input:1":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}'
TWICE = b"{" + ONE + b"," + ONE + b"}"
LYING_WARPS: dict[str, bytes] = {
    "empty": b"",
    "a pickle": b"\x80\x04\x95" + bytes(64),
    "a zip": b"PK\x03\x04" + bytes(64),
    "a header beyond the file": (2**62).to_bytes(8, "little") + b"{}",
    "a name twice": len(TWICE).to_bytes(8, "little") + TWICE + bytes(4),
    "not finite": warp_file().replace(warp_file()[-4:], b"\x00\x00\xc0\x7f"),
    "another size than its key": warp_file(size=4).replace(b"input:4", b"input:5"),
    "cut": warp_file()[:-1],
    "more": warp_file() + b"x",
}


@pytest.mark.parametrize("lie", LYING_WARPS)
def test_a_p_that_lies_is_refused_and_leaves_nothing(plain_client: TestClient, lie: str) -> None:
    plain_client.post("/v1/families", json={"name": "f"})
    answer = plain_client.post("/v1/families/f/warps", files={"file": ("p", LYING_WARPS[lie])})
    assert (answer.status_code, answer.json()["param"]) == (422, "file"), answer.text
    assert plain_client.get("/v1/families/f/warps").json()["data"] == []


def test_every_wrong_key_is_compared_alike(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by a clock, which nobody could trust here: by what is done. One look-up, one comparison of equal length in
    constant time, whether the id is known, the secret is wrong, or the key has ended."""
    caller = Caller("p", COMMAND, frozenset({"admin", "jobs:read"}))
    made = services.database.write(lambda s: keys.create(s, caller, name="", scopes=["jobs:read"], now=clock.now()))
    ended = services.database.write(lambda s: keys.create(s, caller, name="", scopes=["jobs:read"], now=clock.now()))
    services.database.write(lambda s: keys.revoke(s, caller, ended.key.id, clock.now()))
    compared: list[tuple[int, int]] = []

    def noted(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(keys, "hmac", type("Hmac", (), {"compare_digest": staticmethod(noted)}))
    unknown, wrong = (tokens.new(each) for each in ("key_" + "0" * 26, made.key.id))
    for secret in (unknown, wrong, ended.secret):
        with services.database.read() as session, pytest.raises(Unauthenticated):
            keys.authenticate(session, secret, clock.now())
    assert compared == [(64, 64)] * 3


def test_a_key_opens_nothing_under_another_name(client: TestClient, services: Services) -> None:
    caller = Caller("default", COMMAND, frozenset({"admin", "jobs:read"}))
    secret = services.database.write(
        lambda s: keys.create(s, caller, name="", scopes=["jobs:read"], now=clock.now())
    ).secret
    services.access.look_again()
    assert client.get("/v1/jobs", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    swapped = secret.swapcase()
    tries: list[dict[str, Any]] = [
        {"headers": {"authorization": value}}
        for value in (f"Basic {secret}", secret, f"Bearer {secret}x", f"Bearer {secret[:-1]}", f"Bearer {swapped}")
    ]
    tries += [
        {"params": {"api_key": secret}},
        {"params": {"access_token": secret}},
        {"headers": {"x-api-key": secret}},
        {"headers": {"cookie": f"authorization=Bearer {secret}"}},
    ]
    for each in tries:
        answer = client.get("/v1/jobs", **each)
        assert answer.status_code == 401, each
        assert secret not in answer.text
        assert secret not in json.dumps(dict(answer.headers))


def test_uploads_do_not_choose_where_they_lie(client: TestClient, services: Services) -> None:
    for name in ("../../x", "/etc/cron.d/x", "C:\\x", "a/../../x", "\x00x", "." * 300):
        client.post("/v1/datasets", data={"name": name[:200].replace("\x00", "")}, files={"file": (name, npz())})
    folder = services.settings.data_dir
    outside = [path for path in folder.rglob("*") if path.name in ("x", "passwd")]
    assert outside == []
    assert not (folder.parent / "x").exists()
