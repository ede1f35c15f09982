"""Matches over HTTP: asked with a Location, measured later, and like jobs where something is wrong."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.deps import Services
from tests.api.made import npz
from tests.matches import RESULT, finish

MATCH = "/v1/families/match"


@pytest.fixture
def asked(client: TestClient) -> dict[str, Any]:
    dataset = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    return {"dataset": {"id": dataset}, "task": "regression", "model": {"arch": "mlp", "hidden": [8]}}


def test_it_is_asked_and_looked_at(client: TestClient, services: Services, asked: dict[str, Any]) -> None:
    made = client.post(MATCH, json=asked, headers={"idempotency-key": "m"})
    assert (made.status_code, made.json()["state"], made.json()["result"]) == (202, "queued", None)
    assert client.post(MATCH, json=asked, headers={"idempotency-key": "m"}).json()["id"] == made.json()["id"]
    assert made.json()["model"] == {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 4, "output": 2}
    where = made.headers["location"]
    assert where == f"/v1/families/matches/{made.json()['id']}"
    assert finish(services.database) == made.json()["id"]
    shown = client.get(where).json()
    assert (shown["state"], shown["result"], shown["attempts"]) == ("succeeded", RESULT, 1)
    assert shown["finished_at"]


def test_one_that_failed_says_why(client: TestClient, services: Services, asked: dict[str, Any]) -> None:
    where = client.post(MATCH, json=asked).headers["location"]
    finish(services.database, ("timeout", "It took too long."))
    shown = client.get(where).json()
    assert (shown["state"], shown["failure"]) == ("failed", {"code": "timeout", "message": "It took too long."})


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"model": {"entrypoint": "a:b", "package": "ds_1"}}, "unknown_model", "model"),
        ({"init": "family"}, "value_error", "init"),
        ({"batch_size": 37}, "invalid_request", "batch_size"),
        ({"families": ["nobody"]}, "family_not_found", "families"),
        ({"dataset": {"id": "ds_0"}}, "dataset_not_found", "dataset.id"),
        ({"limit": 21}, "less_than_equal", "limit"),
        ({"family": "f"}, "unknown_field", "family"),
    ],
)
def test_what_is_wrong_is_told_at_once(
    client: TestClient, asked: dict[str, Any], changes: dict[str, Any], code: str, param: str
) -> None:
    answer = client.post(MATCH, json=asked | changes)
    problem = answer.json()
    codes = [each["code"] for each in problem.get("errors", [])]
    assert (answer.status_code, problem["param"]) == (422, param)
    assert code in (problem["code"], *codes)


def test_too_many_at_once(client: TestClient, asked: dict[str, Any]) -> None:
    answers = [client.post(MATCH, json=asked) for _ in range(11)]
    assert [each.status_code for each in answers] == [202] * 10 + [429]
    assert answers[-1].json()["code"] == "quota_exceeded"
    assert int(answers[-1].headers["retry-after"]) > 0


def test_families_may_be_called_like_its_routes(client: TestClient) -> None:
    for name in ("match", "matches"):
        client.post("/v1/families", json={"name": name})
        assert client.get(f"/v1/families/{name}").json()["name"] == name
        assert client.get(f"/v1/families/{name}/warps").json()["data"] == []
    assert client.get("/v1/families/matches/match_0").status_code == 404
