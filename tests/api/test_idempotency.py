"""A POST that is sent twice with one key is executed once."""

import pytest
from starlette.testclient import TestClient

from service import examining
from service.examining import Examined
from service.origins import Origin
from service.settings import Settings
from service.spec import DatasetOptions
from service.storage import Storage
from tests.api.made import npz


def _key(value: str) -> dict[str, str]:
    return {"idempotency-key": value}


def test_the_same_request_replays_its_answer(client: TestClient) -> None:
    first = client.post("/v1/families", json={"name": "f"}, headers=_key("k"))
    second = client.post("/v1/families", json={"name": "f"}, headers=_key("k"))
    assert [first.status_code, second.status_code] == [201, 201]
    assert second.content == first.content
    assert second.headers["location"] == first.headers["location"]
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]


def test_another_body_is_refused(client: TestClient) -> None:
    client.post("/v1/families", json={"name": "f"}, headers=_key("k"))
    answer = client.post("/v1/families", json={"name": "g"}, headers=_key("k"))
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")


def test_a_refused_request_leaves_its_key_free(client: TestClient) -> None:
    assert client.post("/v1/families", json={"name": "F!"}, headers=_key("k")).status_code == 422
    assert client.post("/v1/families", json={"name": "f"}, headers=_key("k")).status_code == 201


def test_a_request_in_flight_is_409(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second request comes while the first reads its data, before its transaction."""
    examine = examining.examine
    meanwhile: list[tuple[int, str]] = []

    def slow(storage: Storage, settings: Settings, origin: Origin, options: DatasetOptions) -> Examined:
        answer = client.post("/v1/datasets", json={"builtin": "digits"}, headers=_key("k"))
        meanwhile.append((answer.status_code, answer.json()["code"]))
        return examine(storage, settings, origin, options)

    monkeypatch.setattr(examining, "examine", slow)
    assert client.post("/v1/datasets", json={"builtin": "digits"}, headers=_key("k")).status_code == 201
    assert meanwhile == [(409, "idempotency_in_flight")]


def test_keys_are_per_path_and_bounded(client: TestClient) -> None:
    client.post("/v1/families", json={"name": "f"}, headers=_key("k"))
    assert client.post("/v1/datasets", json={"builtin": "digits"}, headers=_key("k")).status_code == 201
    assert client.post("/v1/families", json={"name": "g"}, headers=_key("x" * 300)).status_code == 422


def test_uploads_are_compared_by_content_not_by_boundary(client: TestClient) -> None:
    answers = [
        client.post("/v1/datasets", data={"name": "a"}, files={"file": ("a.npz", npz())}, headers=_key("k"))
        for _ in range(2)
    ]
    assert [each.status_code for each in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(client.get("/v1/datasets").json()["data"]) == 1
    other = client.post("/v1/datasets", files={"file": ("a.npz", npz(seed=1))}, headers=_key("k"))
    assert other.json()["code"] == "idempotency_mismatch"
