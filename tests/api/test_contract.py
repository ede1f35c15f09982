"""What the contract says of every call, asked of every call that the OpenAPI document has."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api import openapi
from tests.api.conftest import serving
from tests.api.world import Call, World, build, filled

Json = dict[str, Any]


@pytest.fixture
def world(built_app: FastAPI, sqlite_url: str, tmp_path: Path) -> Iterator[World]:
    with serving(built_app, sqlite_url, tmp_path) as services:
        yield build(built_app, services, "alpha")


def calls(app: FastAPI, *methods: str) -> Iterator[tuple[str, str, Json]]:
    """(path, method, operation) of /v1."""
    for path, method, operation in openapi.operations(app.openapi()):
        if path.startswith("/v1/") and (not methods or method in methods):
            yield path, method, operation


def send(world: World, method: str, path: str, query: str = "", **sent: Any) -> httpx.Response:
    call = world.calls.get((path, method), Call())
    if not sent.keys() & {"json", "content", "files"}:
        sent |= {"json": call.json, "files": call.files}
    return world.client.request(method, filled(path, {**world.ids, **call.fills}) + query, **sent)


def code(answer: httpx.Response) -> tuple[int, str, str | None]:
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, body["code"], body["param"]


def is_list(operation: Json) -> bool:
    content = operation["responses"]["200"].get("content", {})
    return "Listing" in str(content.get("application/json", {}).get("schema"))


def test_every_list_is_a_page(built_app: FastAPI, world: World) -> None:
    found = [path for path, _, operation in calls(built_app, "get") if is_list(operation)]
    assert len(found) > 12
    for path in found:
        whole = send(world, "get", path, "?limit=101")
        assert whole.status_code == 200, path
        body = whole.json()
        assert (body["object"], body["has_more"], body["next_cursor"]) == ("list", False, None), path
        assert code(send(world, "get", path, "?limit=0")) == (422, "invalid_request", "limit"), path
        assert code(send(world, "get", path, "?after=mine")) == (422, "invalid_request", "after"), path
        if len(body["data"]) > 1:
            page = send(world, "get", path, "?limit=1").json()
            assert (page["data"], page["has_more"]) == (body["data"][:1], True), path
            rest = send(world, "get", path, f"?limit=100&after={page['next_cursor']}").json()
            assert rest["data"] == body["data"][1:], path
            assert rest["next_cursor"] is None


def test_cursors_are_bound_to_their_filters(world: World) -> None:
    for path, other in (("/v1/jobs", "state=queued"), ("/v1/audit", "action=job.submit")):
        cursor = world.client.get(f"{path}?limit=1").json()["next_cursor"]
        assert code(world.client.get(f"{path}?limit=1&after={cursor}&{other}")) == (422, "invalid_request", "after")


def test_a_filter_given_twice_means_either(world: World) -> None:
    def states(query: str) -> set[str]:
        return {job["state"] for job in world.client.get(f"/v1/jobs?{query}").json()["data"]}

    assert states("state=paused") == {"paused"}
    assert states("state=paused&state=queued") == {"paused", "queued"}


def test_every_answer_carries_the_request_id_and_opens_nothing_to_other_pages(built_app: FastAPI, world: World) -> None:
    for path, method, _ in calls(built_app):
        for headers in ({"x-request-id": "mine-7"}, {"x-request-id": "mine-7", "authorization": "Bearer x"}):
            answer = send(world, method, path, "?no-such=1", headers=headers)
            assert answer.status_code in (401, 422), path
            assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-7"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_call_refuses_what_it_does_not_know(built_app: FastAPI, world: World) -> None:
    bodies = 0
    for path, method, operation in calls(built_app):
        told = send(world, method, path, "?no-such=1").json()
        assert (told["code"], told["param"]) == ("invalid_request", "no-such"), path
        if "application/json" in operation.get("requestBody", {}).get("content", {}):
            known = world.calls[(path, method)].json or {}
            told = send(world, method, path, json=known | {"no_such": 1}).json()
            assert "no_such" in [each["param"] for each in told["errors"]], path
            bodies += 1
    assert bodies > 6


def test_every_body_must_say_what_it_is(built_app: FastAPI, world: World) -> None:
    for path, method, _ in calls(built_app, "post", "put", "patch"):
        answer = send(world, method, path, content=b"a=b", headers={"content-type": "text/plain"})
        assert code(answer) == (415, "unsupported_media_type", None), path


ALSO = {"/v1/families/match": {"get", "patch", "delete"}}
"""What a path takes beside its own: a family may be called `match`."""


def test_every_path_names_the_methods_that_it_takes(built_app: FastAPI, world: World) -> None:
    for path, methods in built_app.openapi()["paths"].items():
        answer = world.client.request("TRACE", filled(path, world.ids))
        assert code(answer) == (405, "method_not_allowed", None)
        known = set(methods) | ALSO.get(path, set())
        assert set(answer.headers["allow"].lower().split(", ")) - {"head"} == known, path


def test_every_post_can_be_repeated(built_app: FastAPI, world: World) -> None:
    for path, method in [each for each in world.calls if each[1] == "post"]:
        operation = built_app.openapi()["paths"][path][method]
        assert "Idempotency-Key" in [each["name"] for each in operation["parameters"]], path
        first = send(world, method, path, headers={"idempotency-key": "k"})
        again = send(world, method, path, headers={"idempotency-key": "k"})
        assert first.status_code in (200, 201, 202), first.text
        assert (again.status_code, again.headers["idempotent-replayed"]) == (first.status_code, "true"), path
        hidden = {"secret": None} if "secret" in first.json() else {}
        assert again.json() == first.json() | hidden
        if first.status_code in (201, 202) and path != "/v1/checkpoints":  # what was uploaded is named in jobs only
            assert world.client.get(first.headers["location"]).status_code == 200, path
            assert again.headers["location"] == first.headers["location"]


def test_every_file_can_be_had_in_parts(built_app: FastAPI, world: World) -> None:
    paths = [path for path, _, _ in calls(built_app, "get") if path.endswith("/content")]
    assert len(paths) == 3
    for path in paths:
        url = filled(path, world.ids)
        whole = world.client.get(url)
        size, etag = len(whole.content), whole.headers["etag"]
        assert etag.startswith('"')
        assert whole.headers["accept-ranges"] == "bytes"
        head = world.client.head(url)
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
        part = world.client.get(url, headers={"range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, whole.content[1:4])
        assert part.headers["content-range"] == f"bytes 1-3/{size}"
        last = world.client.get(url, headers={"range": "bytes=-2", "if-range": etag})
        assert (last.status_code, last.content) == (206, whole.content[-2:])
        other = world.client.get(url, headers={"range": "bytes=1-3", "if-range": '"other"'})
        assert (other.status_code, other.content) == (200, whole.content)
        beyond = world.client.get(url, headers={"range": f"bytes={size}-"})
        assert code(beyond) == (416, "range_not_satisfiable", None)
        assert beyond.headers["content-range"] == f"bytes */{size}"
        for known in (etag, f'"x", {etag}', "*", f"W/{etag}"):
            same = world.client.get(url, headers={"if-none-match": known})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)


def test_an_alias_moves_only_from_where_it_was_read(world: World) -> None:
    url = filled("/v1/families/{family}/aliases/{alias}", world.ids)
    etag = world.client.get(url).headers["etag"]
    for wrong in ('"999"', f"W/{etag}", "nonsense"):
        answer = world.client.put(url, json={"version": 1}, headers={"if-match": wrong})
        assert code(answer) == (412, "etag_mismatch", None)
        assert code(world.client.delete(url, headers={"if-match": wrong})) == (412, "etag_mismatch", None)
    moved = world.client.put(url, json={"version": 1}, headers={"if-match": etag})
    assert (moved.status_code, moved.headers["etag"]) == (200, '"1"')
    assert world.client.delete(url, headers={"if-match": "*"}).status_code == 200
    assert code(world.client.put(url, json={"version": 1}, headers={"if-match": "*"})) == (412, "etag_mismatch", None)
