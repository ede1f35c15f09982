"""Every error is a problem+json with the contract's fields, and none shows the server's inside."""

import errno
import json
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from sqlalchemy import exc as sql
from starlette.testclient import TestClient

from api.errors import STATUS, translate
from service import errors

FIELDS = {"type", "title", "status", "detail", "instance", "code", "param", "request_id"}


def _tree(kind: type[errors.ServiceError]) -> Iterator[type[errors.ServiceError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _tree(each)


def test_the_map_names_every_error_of_the_service() -> None:
    ours = {kind for kind in _tree(errors.ServiceError) if kind.__module__.startswith(("service", "warpadam", "api"))}
    assert set(STATUS) == ours


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("POST", "/healthz", 405, "method_not_allowed"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/families/none", 404, "not_found"),
        ("GET", "/v1/families?limit=x", 422, "invalid_request"),
        ("GET", "/v1/families?limit=0", 422, "invalid_request"),
        ("GET", "/v1/families?after=x", 422, "invalid_request"),
        ("GET", "/v1/families?sort=name", 422, "invalid_request"),
    ],
)
def test_problem(plain_client: TestClient, method: str, path: str, status: int, code: str) -> None:
    answer = plain_client.request(method, path)
    body = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) >= FIELDS
    assert (body["code"], body["status"], body["instance"]) == (code, status, path.partition("?")[0])
    assert body["request_id"] == answer.headers["x-request-id"]


def test_405_names_the_methods_there_are(plain_client: TestClient) -> None:
    assert "GET" in plain_client.post("/healthz").headers["allow"]


@pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b'{"a": 1} x', b"\xff", b"[" * 100_000])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/families", "/v1/datasets"])
def test_malformed_json_is_400(plain_client: TestClient, path: str, body: bytes) -> None:
    answer = plain_client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


def test_all_mistakes_are_told_at_once(plain_client: TestClient) -> None:
    spec = {"family": "F", "task": "sorting", "optimizer": {"lr": -1}, "colour": "red"}
    body = plain_client.post("/v1/jobs", json=spec).json()
    told = {each["param"]: each["code"] for each in body["errors"]}
    assert told["optimizer.lr"] == "greater_than"
    assert told["colour"] == "unknown_field"
    assert told["dataset"] == "missing"
    assert {"family", "task", "model"} <= set(told)
    assert body["param"] in told


def test_a_parameter_that_is_meant_once_is_refused_twice(plain_client: TestClient) -> None:
    answer = plain_client.get("/v1/families?limit=3&limit=7&after=x&after=x&colour=red&colour=red")
    told = [(each["param"], each["code"]) for each in answer.json()["errors"]]
    assert answer.status_code == 422
    assert told == [("colour", "unknown_field"), ("limit", "repeated_field"), ("after", "repeated_field")]
    assert plain_client.get("/v1/jobs?state=queued&state=running&metadata[a]=1&metadata[a]=2").status_code == 200


def test_text_that_cannot_be_stored_is_refused(plain_client: TestClient) -> None:
    named = plain_client.post("/v1/families", json={"name": "f", "description": "a\0b"})
    escaped = plain_client.post("/v1/families", json={"name": "fine", "description": "a\\u0000b"})
    assert (named.status_code, escaped.status_code) == (422, 201)
    assert plain_client.get("/v1/families/a%00b").status_code == 422
    assert plain_client.get("/v1/jobs?family=a%00b").status_code == 422


def test_a_defect_answers_500_without_its_inside(plain_client: TestClient) -> None:
    app = plain_client.app
    assert isinstance(app, FastAPI)

    def broken() -> None:
        raise RuntimeError("the secret inside")

    app.add_api_route("/broken", broken)
    try:
        answer = plain_client.get("/broken")
    finally:
        app.router.routes.pop()
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "full"), errors.StorageFull),
        (OSError(errno.EACCES, "not allowed"), None),
        (sql.OperationalError("", {}, Exception("database or disk is full")), errors.StorageFull),
        (sql.OperationalError("", {}, Exception("connection refused")), errors.Unavailable),
        (sql.DataError("", {}, Exception("out of range")), errors.InvalidRequest),
        (OverflowError("int too large"), errors.InvalidRequest),
        (sql.IntegrityError("", {}, Exception("unique")), None),
    ],
)
def test_errors_of_the_environment(error: Exception, expected: type[errors.ServiceError] | None) -> None:
    found = translate(error)
    assert found is None if expected is None else type(found) is expected


def test_a_database_that_is_away_is_503(plain_client: TestClient) -> None:
    app = plain_client.app
    assert isinstance(app, FastAPI)
    with app.state.services.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE families RENAME TO hidden")
    answer = plain_client.get("/v1/families")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    assert "hidden" not in answer.text


ODD_TEXT = ["x" * 5000, "-1", "9" * 40, "%F0%9F%A6%86", "..%2f..%2fetc", "'; DROP TABLE jobs; --", "%22", "1e400"]
ODD_VALUES = [None, 10**30, -(10**30), "x" * 5000, [], {}, [[]], True, 1.5, "\ud800", "🦆"]


def test_odd_paths_never_break_the_server(client: TestClient) -> None:
    assert isinstance(client.app, FastAPI)
    client.post("/v1/families", json={"name": "known"})
    operations = [(path, method) for path, each in client.app.openapi()["paths"].items() for method in each]
    for path, method in operations:
        for odd in ODD_TEXT if "{" in path else []:
            filled = path.replace("{family}", "known" if "}/" in path else odd)
            for name in ("job_id", "which", "dataset_id", "alias"):
                filled = filled.replace(f"{{{name}}}", odd)
            answer = client.request(method, filled, json={"version": 1} if method == "put" else None)
            assert answer.status_code < 500, (method, filled, answer.text)
            assert "Traceback" not in answer.text


def _odd_requests(odd: object) -> Iterator[tuple[str, str, object]]:
    base = {"family": "known", "dataset": {"id": "ds_x"}, "task": "regression", "model": {"arch": "mlp", "hidden": [1]}}
    parts: list[dict[str, object]] = [
        {"family": odd, "task": odd, "model": odd, "init": odd, "optimizer": odd, "metadata": odd},
        {"dataset": {"id": odd}},
        {"dataset": {"builtin": odd}},
        {"dataset": {"builtin": "digits", "split_seed": odd}},
        {"dataset": {"builtin": "digits"}, "task": "classification", "optimizer": {"warp": odd}},
        {"dataset": {"builtin": "digits"}, "task": "classification", "init": {"checkpoint": odd}},
        {"dataset": {"builtin": "digits"}, "task": "classification", "training": {"steps": odd, "seed": odd}},
        {"dataset": {"builtin": "digits"}, "task": "classification", "resources": {"workers": odd}, "priority": odd},
        {"training": {"batch_size": odd, "warmup_steps": odd, "eval_every": odd}, "timeout_s": odd, "name": odd},
    ]
    yield "POST", "/v1/jobs", odd
    for part in parts:
        yield "POST", "/v1/jobs", {**base, **part}
    yield "POST", "/v1/families", {"name": odd}
    yield "PATCH", "/v1/families/known", {"description": odd, "promotion": odd}
    yield "PUT", "/v1/families/known/aliases/stable", {"version": odd, "reason": odd}
    yield "POST", "/v1/datasets", {"uri": odd, "val_fraction": odd}
    yield "POST", "/v1/datasets", odd


def test_odd_values_never_break_the_server(client: TestClient) -> None:
    client.post("/v1/families", json={"name": "known"})
    kind = {"content-type": "application/json"}
    for odd in ODD_VALUES:
        for method, path, body in _odd_requests(odd):
            answer = client.request(method, path, content=json.dumps(body).encode(), headers=kind)
            assert answer.status_code in (200, 201, 404, 409, 422), (method, path, body, answer.text)
            assert "Traceback" not in answer.text
