"""Datasets by upload, by URI and built in."""

import json
import time
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.deps import Services
from service import datasets, inspecting
from service.access import DEFAULT_PROJECT
from service.inspecting import Inspector
from tests.api.made import npz, spec


def test_an_upload_says_what_was_understood(client: TestClient, services: Services) -> None:
    data = npz(rows=50, columns=4, outputs=2)
    answer = client.post("/v1/datasets", data={"val_fraction": "0.2"}, files={"file": ("a.npz", data)})
    made = answer.json()
    assert (answer.status_code, made["state"], made["name"]) == (201, "ready", "a.npz")
    assert answer.headers["location"] == f"/v1/datasets/{made['id']}"
    assert client.get(answer.headers["location"]).json() == made
    assert (made["info"]["train"], made["info"]["val"], made["size"]) == (40, 10, len(data))
    assert (made["info"]["input"]["shape"], made["uri"]) == ([4], None)
    with services.database.read() as session:
        row = datasets.get(session, DEFAULT_PROJECT, made["id"])
    assert services.storage.get(row.uri or "") == data


def test_what_cannot_be_used_is_invalid_and_says_why(client: TestClient) -> None:
    made = client.post("/v1/datasets", files={"file": ("a.npz", b"no archive")}).json()
    assert (made["state"], made["info"]) == ("invalid", None)
    assert "a.npz" in made["error"]


def test_a_file_below_the_data_roots(client: TestClient, services: Services) -> None:
    inside = services.settings.data_roots[0] / "b.npz"
    inside.write_bytes(npz())
    answer = client.post("/v1/datasets", json={"uri": str(inside), "name": "mine"})
    assert (answer.status_code, answer.json()["state"], answer.json()["name"]) == (201, "ready", "mine")
    assert answer.json()["uri"] == str(inside)


@pytest.mark.parametrize("uri", ["/etc/passwd", "file:///etc/passwd", "{root}/../test.db", "{root}/none.npz", "zip::x"])
def test_files_elsewhere_are_refused(client: TestClient, services: Services, uri: str) -> None:
    answer = client.post("/v1/datasets", json={"uri": uri.format(root=services.settings.data_roots[0])})
    assert (answer.status_code, answer.json()["param"]) == (422, "uri")


def test_a_link_out_of_the_data_roots_is_refused(client: TestClient, services: Services, tmp_path: Path) -> None:
    outside = tmp_path / "secret.npz"
    outside.write_bytes(npz())
    link = services.settings.data_roots[0] / "link.npz"
    link.symlink_to(outside)
    assert client.post("/v1/datasets", json={"uri": str(link)}).status_code == 422


def test_a_built_in_is_registered_once(client: TestClient) -> None:
    first = client.post("/v1/datasets", json={"builtin": "digits"}).json()
    assert client.post("/v1/datasets", json={"builtin": "digits"}).json() == first
    assert first["info"]["classes"] == list(range(10))


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"val_fraction": "2"}, "val_fraction"), ({"format": "pickle"}, "format"), ({"colour": "red"}, "colour")],
)
def test_mistakes_in_the_form(client: TestClient, fields: dict[str, str], param: str) -> None:
    answer = client.post("/v1/datasets", data=fields, files={"file": ("a.npz", npz())})
    assert (answer.status_code, answer.json()["param"]) == (422, param)


@pytest.mark.parametrize("body", [{}, {"id": "ds_x"}, {"uri": "a", "builtin": "digits"}, {"builtin": "mnist"}])
def test_mistakes_in_the_body(client: TestClient, body: dict[str, str]) -> None:
    answer = client.post("/v1/datasets", content=json.dumps(body), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_one_is_listed_and_hidden_when_deleted(client: TestClient) -> None:
    made = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()
    assert client.get("/v1/datasets").json()["data"] == [made]
    assert client.delete(f"/v1/datasets/{made['id']}").json()["deleted"] is True
    assert client.get("/v1/datasets").json()["data"] == []
    assert client.get(f"/v1/datasets/{made['id']}").status_code == 404
    assert client.delete(f"/v1/datasets/{made['id']}").status_code == 404


def test_one_that_is_in_use_stays(client: TestClient) -> None:
    made = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()
    client.post("/v1/jobs", json=spec(made["id"]))
    answer = client.delete(f"/v1/datasets/{made['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")


def test_a_large_upload_is_answered_before_it_is_inspected(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "is_large", lambda *_: True)
    answer = client.post("/v1/datasets", files={"file": ("a.npz", npz())})
    made = answer.json()
    assert (answer.status_code, made["state"], made["info"]) == (201, "inspecting", None)
    assert made["progress"] == {"bytes": 0, "of": made["size"]}
    early = client.post("/v1/jobs", json=spec(made["id"]))
    assert (early.status_code, early.json()["code"]) == (409, "dataset_not_ready")
    assert Inspector(services.database, services.storage, services.settings).run_once()
    done = client.get(f"/v1/datasets/{made['id']}").json()
    assert (done["state"], done["progress"], done["sha256"]) == ("ready", None, made["sha256"])


def test_the_app_inspects_while_it_runs(
    built_app: FastAPI, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspecting, "is_large", lambda *_: True)
    thread = services.inspector
    thread.start()
    client = TestClient(built_app, base_url="http://localhost:8000")
    ids = [client.post("/v1/datasets", files={"file": ("a.npz", npz(seed=seed))}).json()["id"] for seed in range(2)]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = {client.get(f"/v1/datasets/{id_}").json()["state"] for id_ in ids}
        if states == {"ready"}:
            break
    thread.stop()
    assert states == {"ready"}
