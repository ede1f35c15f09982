"""Idempotency keys that are replayed, altered, stolen and raced."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.deps import Services
from tests.api.made import npz, spec, warp_file
from tests.api.world import client_of, new_key

KEY = {"idempotency-key": "k"}


@pytest.fixture
def project(built_app: FastAPI, services: Services) -> TestClient:
    return client_of(built_app, new_key(services, "alpha", "admin")[1])


@pytest.fixture
def stranger(built_app: FastAPI, services: Services) -> TestClient:
    return client_of(built_app, new_key(services, "omega", "admin")[1])


def dataset(client: TestClient) -> str:
    return str(client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"])


def test_a_stolen_key_shows_nothing_of_the_first_answer(project: TestClient, stranger: TestClient) -> None:
    first = project.post("/v1/families", json={"name": "f", "description": "mine"}, headers=KEY)
    theirs = stranger.post("/v1/families", json={"name": "f", "description": "mine"}, headers=KEY)
    assert (first.status_code, theirs.status_code) == (201, 201)
    assert "idempotent-replayed" not in theirs.headers
    assert first.json()["created_at"] <= theirs.json()["created_at"]


def test_a_replay_needs_the_scope_of_the_first(project: TestClient, built_app: FastAPI, services: Services) -> None:
    project.post("/v1/families", json={"name": "f"}, headers=KEY)
    reader = client_of(built_app, new_key(services, "alpha", "jobs:read")[1])
    answer = reader.post("/v1/families", json={"name": "f"}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")


def altered(client: TestClient) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(path, first request, the same with something else)."""
    job = spec(dataset(client))
    client.post("/v1/families", json={"name": "f"})
    yield "/v1/jobs", {"json": job}, {"json": job | {"priority": 1}}
    yield "/v1/families", {"json": {"name": "g"}}, {"json": {"name": "h"}}
    yield "/v1/families/f/warps", {"files": {"file": ("p", warp_file())}}, {"files": {"file": ("p", warp_file(1))}}
    yield "/v1/datasets", {"files": {"file": ("a", npz())}}, {"files": {"file": ("a", npz(seed=5))}}
    yield "/v1/datasets", {"json": {"builtin": "digits"}}, {"json": {"builtin": "digits", "split_seed": 1}}
    yield "/v1/keys", {"json": {"scopes": ["jobs:read"]}}, {"json": {"scopes": ["admin"]}}
    yield "/v1/webhooks", {"json": {"url": "https://192.0.2.1/"}}, {"json": {"url": "https://192.0.2.2/"}}


def test_an_altered_request_is_never_answered_as_the_first(project: TestClient) -> None:
    for number, (path, first, other) in enumerate(altered(project)):
        key = {"idempotency-key": f"k{number}"}
        made = project.post(path, headers=key, **first)
        assert made.status_code == 201, made.text
        refused = project.post(path, headers=key, **other)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_mismatch"), path
        again = project.post(path, headers=key, **first)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
        hidden = {"secret": None} if "secret" in made.json() else {}
        assert again.json() == made.json() | hidden
        assert again.headers.get("location") == made.headers.get("location")


def test_a_dry_run_and_the_job_are_two_requests(project: TestClient) -> None:
    job = spec(dataset(project))
    assert project.post("/v1/jobs?validate_only=true", json=job, headers=KEY).status_code == 200
    assert project.post("/v1/jobs", json=job, headers=KEY).status_code == 201


def test_a_race_makes_one(project: TestClient) -> None:
    job = spec(dataset(project))
    answers: list[Any] = []
    barrier = threading.Barrier(4)

    def submit() -> None:
        barrier.wait()
        answers.append(project.post("/v1/jobs", json=job, headers=KEY))

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert (answer.json()["code"], answer.headers["retry-after"]) == ("idempotency_in_flight", "1")
    assert len(project.get("/v1/jobs").json()["data"]) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_what_is_no_key(plain_client: TestClient, key: str) -> None:
    answer = plain_client.post("/v1/families", json={"name": "f"}, headers={"idempotency-key": key})
    assert (answer.status_code, answer.json()["param"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize("key", ["'; DROP TABLE jobs; --", "../..", "a b", "\u00e9", "%00"])
def test_any_text_is_a_key(plain_client: TestClient, key: str) -> None:
    for replayed in (None, "true"):
        headers = {"idempotency-key": key.encode("latin-1")}
        answer = plain_client.post("/v1/families", json={"name": "f"}, headers=headers)  # type: ignore[arg-type]
        assert (answer.status_code, answer.headers.get("idempotent-replayed")) == (201, replayed)
