"""Families, versions of P, aliases: made, changed, downloaded, found again."""

import hashlib

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from starlette.testclient import TestClient

from api.deps import Services
from service import clock
from service.db.models import WarpVersion
from tests.api.made import warp_file
from tests.api.world import client_of, new_key

OCTETS = {"content-type": "application/octet-stream"}


@pytest.fixture
def family(client: TestClient) -> str:
    """A family with two uploaded versions."""
    client.post("/v1/families", json={"name": "patches"})
    for seed in (1, 2):
        answer = client.post("/v1/families/patches/warps", content=warp_file(seed), headers=OCTETS)
        assert answer.status_code == 201, answer.text
    return "/v1/families/patches"


def test_a_family_is_made_once(client: TestClient) -> None:
    body = {"name": "patches", "description": "of images", "promotion": "manual"}
    made = client.post("/v1/families", json=body)
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/families/patches"
    assert client.get(made.headers["location"]).json() == made.json()
    assert made.json() == {
        **body,
        "object": "family",
        "starts": True,
        "start_step": 1.0,
        "champion": None,
        "latest": None,
        "learner": {"accepted": 0, "refused": {}, "pending": 0, "epoch": 0},
        "created_at": made.json()["created_at"],
    }
    again = client.post("/v1/families", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "in_use")


def test_a_family_is_changed_and_deleted(client: TestClient, family: str) -> None:
    changed = client.patch(family, json={"promotion": "manual"}).json()
    assert (changed["promotion"], changed["latest"]) == ("manual", 2)
    assert client.patch(family, json={"promotion": "never"}).json()["param"] == "promotion"
    assert client.delete(family).json() == {"id": "patches", "object": "deleted", "deleted": True}
    assert client.get(family).status_code == 404
    assert client.get("/v1/families").json()["data"] == []


def test_lists_are_pages(client: TestClient) -> None:
    for i in range(5):
        client.post("/v1/families", json={"name": f"f{i}"})
    first = client.get("/v1/families?limit=2").json()
    assert (first["object"], first["has_more"]) == ("list", True)
    second = client.get("/v1/families", params={"limit": 1000, "after": first["next_cursor"]}).json()
    assert [each["name"] for each in first["data"] + second["data"]] == ["f4", "f3", "f2", "f1", "f0"]
    assert (second["has_more"], second["next_cursor"]) == (False, None)


def test_versions_are_listed_newest_first(client: TestClient, family: str) -> None:
    versions = client.get(f"{family}/warps").json()["data"]
    assert [each["version"] for each in versions] == [2, 1]
    assert versions[0]["sha256"] == hashlib.sha256(warp_file(2)).hexdigest()
    assert versions[0]["keys"] == [{"key": "input:4", "size": 4}]
    assert client.get(f"{family}/warps/champion").json() == versions[0]
    assert client.get(f"{family}/warps/1").json() == versions[1]
    assert client.get(f"{family}/warps/3").json()["code"] == "not_found"


@pytest.mark.parametrize("which", ["2", "latest", "champion"])
def test_content_is_the_file_with_its_hash_as_etag(client: TestClient, family: str, which: str) -> None:
    answer = client.get(f"{family}/warps/{which}/content")
    assert answer.content == warp_file(2)
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["content-location"] == f"{family}/warps/2/content"
    assert ("immutable" in answer.headers["cache-control"]) == (which == "2")
    head = client.head(f"{family}/warps/{which}/content")
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_what_the_client_has_is_not_sent_again(client: TestClient, family: str, form: str) -> None:
    path = f"{family}/warps/2/content"
    etag = client.head(path).headers["etag"]
    answer = client.get(path, headers={"if-none-match": form.format(etag)})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    assert client.get(path, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-9", 0, 10), ("bytes=10-", 10, None), ("bytes=-7", -7, None), ("bytes=5-99999", 5, None)],
)
def test_ranges(client: TestClient, family: str, asked: str, start: int, end: int | None) -> None:
    answer = client.get(f"{family}/warps/2/content", headers={"range": asked})
    whole = warp_file(2)
    first = start % len(whole)
    assert answer.status_code == 206
    assert answer.content == whole[start:end]
    last = first + len(answer.content) - 1
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=99999-", "bytes=-0"])
def test_a_range_outside_is_416(client: TestClient, family: str, asked: str) -> None:
    answer = client.get(f"{family}/warps/2/content", headers={"range": asked})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(warp_file(2))}"


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=9-3"},
        {"range": "rows=0-1"},
        {"range": "bytes=0-1,3-4"},
        {"range": f"bytes={'9' * 5000}-"},
        {"range": "bytes=0-1", "if-range": '"x"'},
    ],
)
def test_a_range_that_means_nothing_gives_the_whole(client: TestClient, family: str, headers: dict[str, str]) -> None:
    answer = client.get(f"{family}/warps/2/content", headers=headers)
    assert (answer.status_code, answer.content) == (200, warp_file(2))


@pytest.mark.parametrize("version", ["9" * 30, "9" * 5000])
def test_a_number_of_any_length_is_no_version(client: TestClient, family: str, version: str) -> None:
    answer = client.get(f"{family}/warps/{version}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", warp_file()[:-4], b"\xff" * 100])
def test_what_is_no_p_is_refused(client: TestClient, family: str, data: bytes) -> None:
    answer = client.post(f"{family}/warps", content=data, headers=OCTETS)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert client.get(family).json()["latest"] == 2


def test_a_p_may_come_as_a_form(client: TestClient, family: str) -> None:
    answer = client.post(f"{family}/warps", files={"file": ("p.safetensors", warp_file(3))})
    assert (answer.status_code, answer.headers["location"]) == (201, f"{family}/warps/3")
    assert client.post("/v1/families/none/warps", content=warp_file(3), headers=OCTETS).status_code == 404


def test_an_alias_is_set_only_over_what_was_read(client: TestClient, family: str) -> None:
    alias = f"{family}/aliases/champion"
    etag = client.get(alias).headers["etag"]
    moved = client.put(alias, json={"version": 1, "reason": "better"}, headers={"if-match": etag})
    assert (moved.status_code, moved.json()["version"], moved.headers["etag"]) == (200, 1, '"1"')
    stale = client.put(alias, json={"version": 2}, headers={"if-match": etag})
    assert (stale.status_code, stale.json()["code"]) == (412, "etag_mismatch")
    assert client.put(alias, json={"version": 2}, headers={"if-match": "nonsense"}).status_code == 412
    assert client.get(alias, headers={"if-none-match": '"1"'}).status_code == 304
    history = client.get(f"{alias}/history").json()["data"]
    assert [(each["version"], each["previous"]) for each in history] == [(1, 2), (2, 1), (1, None)]
    assert history[0]["reason"] == "better"


def test_if_match_is_a_list_of_strong_tags_or_a_star(client: TestClient, family: str) -> None:
    alias = f"{family}/aliases/stable"
    cases = {'"9", "1"': 200, "*": 200, ' "1" ': 200, '"9"': 412, 'W/"1"': 412, '"1': 412, "1": 412, "": 412}
    for if_match, status in cases.items():
        said = {"if-match": if_match}
        assert client.put(alias, json={"version": 1}, headers=said).status_code == 412  # it is not there yet
        client.put(alias, json={"version": 1})
        assert client.put(alias, json={"version": 1}, headers=said).status_code == status, if_match
        assert client.delete(alias, headers=said).status_code == status, if_match
        client.delete(alias)


def test_aliases_of_people(client: TestClient, family: str) -> None:
    assert client.put(f"{family}/aliases/stable", json={"version": 1}).status_code == 200
    assert [each["name"] for each in client.get(f"{family}/aliases").json()["data"]] == ["champion", "latest", "stable"]
    missing = client.put(f"{family}/aliases/stable", json={"version": 9})
    assert (missing.status_code, missing.json()["code"], missing.json()["param"]) == (422, "warp_not_found", "version")
    assert client.put(f"{family}/aliases/latest", json={"version": 1}).status_code == 422
    assert client.delete(f"{family}/aliases/champion").status_code == 422
    assert client.delete(f"{family}/aliases/stable").json()["deleted"] is True
    assert client.get(f"{family}/aliases/stable").status_code == 404


def test_a_family_without_a_p_says_so(client: TestClient) -> None:
    client.post("/v1/families", json={"name": "fresh"})
    answer = client.get("/v1/families/fresh/warps/champion/content")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "no P yet" in answer.json()["detail"]
    assert client.get("/v1/families/fresh/contributions").json()["data"] == []


def test_a_kept_file_is_told_to_nobody_who_may_not_have_it(
    built_app: FastAPI, client: TestClient, services: Services, family: str
) -> None:
    """That it lies on this machine's disk changes neither whose it is nor that retention removed it."""
    url = f"{family}/warps/1/content"
    whole = client.get(url).content
    kept = services.kept.find(hashlib.sha256(whole).hexdigest(), len(whole))
    assert kept is not None
    assert client.get(url).content == kept.read_bytes() == warp_file(1)
    removed = update(WarpVersion).where(WarpVersion.version == 1).values(collected_at=clock.now())
    services.database.write(lambda session: session.execute(removed) and None)
    answer = client.get(url)
    assert (answer.status_code, answer.json()["code"]) == (410, "collected")
    assert client.get(f"{family}/warps/2/content").status_code == 200
    stranger = client_of(built_app, new_key(services, "omega", "admin", "code:run")[1])
    services.access.look_again()  # else it is remembered for a second that no key is wanted
    for version in (1, 2):
        assert stranger.get(f"{family}/warps/{version}/content").status_code == 404
    assert kept.exists()
