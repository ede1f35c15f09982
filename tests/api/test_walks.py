"""Walks over every call of the OpenAPI document: what it needs, what it records, what strangers see."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event
from starlette.testclient import TestClient

from api.deps import Services
from service.access import SCOPES
from tests.api.made import spec
from tests.api.world import GHOSTS, Call, Operation, World, build, client_of, filled, new_key, operations


@pytest.fixture
def world(built_app: FastAPI, services: Services) -> World:
    return build(built_app, services, "alpha")


@pytest.fixture
def stranger(built_app: FastAPI, services: Services) -> TestClient:
    """May do everything, in another project."""
    return client_of(built_app, new_key(services, "omega", "admin", "code:run")[1])


def scopes_of(app: FastAPI, operation: Operation) -> tuple[str, ...]:
    path, method = operation
    (needed,) = app.openapi()["paths"][path][method]["security"]
    return tuple(needed["key"])


def send(client: TestClient, operation: Operation, ids: dict[str, str], call: Call, **headers: str) -> httpx.Response:
    path, method = operation
    return client.request(method, filled(path, ids), json=call.json, files=call.files, headers=headers)


def test_every_call_names_scopes_of_the_contract(built_app: FastAPI) -> None:
    named = [scopes_of(built_app, each) for each in operations(built_app)]
    assert all(named)
    assert {scope for each in named for scope in each} == set(SCOPES) - {"code:run"}


def test_every_call_is_refused_without_its_scope(built_app: FastAPI, world: World, services: Services) -> None:
    lacking = {
        scope: client_of(built_app, new_key(services, "alpha", *(set(SCOPES) - {scope, "admin"}))[1])
        for scope in SCOPES
    }
    for operation, scope in [(each, scope) for each in operations(built_app) for scope in scopes_of(built_app, each)]:
        answer = send(lacking[scope], operation, world.ids, world.calls.get(operation, Call()))
        body = answer.json()
        assert (answer.status_code, body["code"], body["param"]) == (403, "missing_scope", scope), operation
        assert f'scope="{scope}"' in answer.headers["www-authenticate"]


def test_every_call_succeeds_with_its_scope_and_every_change_is_recorded(
    built_app: FastAPI, world: World, services: Services
) -> None:
    known = operations(built_app)
    reads = [each for each in known if each[1] == "get"]
    changes = [each for each in known if each[1] != "get"]
    assert set(changes) == set(world.calls), "tests/api/world.py needs a line for each call that changes something"
    needed = {each: scopes_of(built_app, each) for each in known}
    minted = {scopes: new_key(services, "alpha", *scopes) for scopes in set(needed.values())}
    for operation in [*reads, *world.calls]:
        key, secret = minted[needed[operation]]
        call = world.calls.get(operation, Call())
        answer = send(client_of(built_app, secret), operation, {**world.ids, **call.fills}, call)
        assert answer.status_code in (200, 201, 202), (operation, answer.text)
        newest = world.client.get("/v1/audit?limit=1").json()["data"][0]
        is_noted = newest["request_id"] == answer.headers["x-request-id"]
        assert is_noted == (operation in changes), operation
        if is_noted:
            assert (newest["actor"], newest["address"]) == (key, "testclient")
            assert newest["target"] in answer.text or newest["target"].partition("@")[0] in filled(
                operation[0], {**world.ids, **call.fills}
            )


@contextmanager
def counted(services: Services) -> Iterator[list[str]]:
    """The statements that reach the database."""
    seen: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(services.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(services.database.engine, "before_cursor_execute", note)


def seen_by(client: TestClient, services: Services, operation: Operation, ids: dict[str, str], call: Call) -> object:
    """All that an answer tells: status, headers, body without the names that were sent, and the work that it took."""
    services.access.look_again()  # so that both ask for their key
    with counted(services) as statements:
        answer = send(client, operation, ids, call, accept="text/event-stream")
    text = answer.text
    for name in ("job_id", "dataset_id", "key_id", "webhook_id", "delivery_id", "match_id", "family"):
        text = text.replace(ids[name], name)
    body = {key: value for key, value in httpx.Response(200, text=text).json().items() if key != "request_id"}
    return answer.status_code, sorted(answer.headers), body, statements


def test_anothers_ids_are_like_ids_that_nobody_has(
    built_app: FastAPI, world: World, stranger: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.access, "note_use", lambda _key: None)  # once a minute, after the answer
    for operation in operations(built_app):
        if "{" in operation[0]:
            call = world.calls.get(operation, Call())
            foreign = seen_by(stranger, services, operation, {**world.ids, **call.fills}, call)
            nobodys = seen_by(stranger, services, operation, GHOSTS, call)
            assert foreign == nobodys, operation
            assert isinstance(foreign, tuple)
            assert foreign[0] == 404, (operation, foreign)


def test_nothing_of_another_project_is_listed(
    built_app: FastAPI, world: World, stranger: TestClient, services: Services
) -> None:
    reads = [path for path, method in operations(built_app) if method == "get" and "{" not in path]
    assert {"/v1/jobs", "/v1/cluster", "/metrics", "/v1/audit", "/v1/keys"} <= set(reads)
    for path in [*reads, "/readyz", "/healthz"]:
        text = stranger.get(path).text
        assert [marker for marker in world.markers if marker in text] == [], path
    assert stranger.get("/v1/cluster").json()["queue"]["queued"] == 0
    assert 'warpadam_jobs{state="queued"} 0.0' in stranger.get("/metrics").text


@pytest.mark.parametrize("ref", ["init.checkpoint", "init.family", "dataset.id"])
def test_anothers_things_cannot_be_named_in_a_job(
    world: World, stranger: TestClient, built_app: FastAPI, services: Services, ref: str
) -> None:
    def tried(ids: dict[str, str]) -> tuple[int, dict[str, Any]]:
        own = made_by(stranger)
        field, _, kind = ref.partition(".")
        job = spec(ids["dataset_id"] if field == "dataset" else own)
        if field == "init":
            job["init"] = {kind: f"{ids['job_id']}/best"}
        answer = stranger.post("/v1/jobs?validate_only=true", json=job)
        text = answer.text.replace(ids["job_id"], "J").replace(ids["dataset_id"], "D")
        body = httpx.Response(200, text=text).json()
        return answer.status_code, {key: value for key, value in body.items() if key != "request_id"}

    foreign, nobodys = tried(world.ids), tried(GHOSTS)
    assert foreign == nobodys
    assert (foreign[0], foreign[1]["code"]) == (
        422,
        "dataset_not_found" if ref == "dataset.id" else "checkpoint_not_found",
    )


def made_by(client: TestClient) -> str:
    answer = client.post("/v1/datasets", json={"builtin": "digits"})
    return str(answer.json()["id"])


def test_names_and_idempotency_keys_are_each_projects_own(world: World, stranger: TestClient) -> None:
    key = {"idempotency-key": "k"}
    for client in (world.client, stranger):
        answer = client.post("/v1/families", json={"name": "common"}, headers=key)
        assert answer.status_code == 201
        assert "idempotent-replayed" not in answer.headers
    world.client.patch("/v1/families/common", json={"description": "alpha's"})
    assert stranger.get("/v1/families/common").json()["description"] == ""
    assert stranger.delete("/v1/families/common").status_code == 200
    assert world.client.get("/v1/families/common").status_code == 200


def test_a_cursor_of_another_project_is_refused(world: World, stranger: TestClient) -> None:
    cursor = world.client.get("/v1/jobs?limit=1").json()["next_cursor"]
    assert cursor
    answer = stranger.get("/v1/jobs", params={"after": cursor})
    assert (answer.status_code, answer.json()["param"]) == (422, "after")
