"""Code of one's own over HTTP: uploaded, looked at, and run only by who may."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.deps import Services
from tests.api.made import npz, spec
from tests.api.world import client_of, new_key
from tests.workers.code.packed import NET, packed

Allowed = Callable[[bool], Services]


@pytest.fixture
def allowed(built_app: FastAPI, services: Services) -> Allowed:
    """Puts the server's word on code into the app."""

    def set_to(value: bool) -> Services:
        settings = services.settings.model_copy(update={"allow_code": value})
        built_app.state.services = replace(services, settings=settings)
        return built_app.state.services  # type: ignore[no-any-return]  # Starlette's state is untyped

    return set_to


@pytest.fixture
def dataset(client: TestClient) -> str:
    return str(client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"])


def uploaded(client: TestClient) -> str:
    answer = client.post("/v1/datasets", files={"file": ("net.zip", packed({"net.py": NET}))})
    assert answer.status_code == 201
    made = answer.json()
    assert (made["state"], made["options"]["format"], made["info"]["kind"]) == ("ready", "package", "package")
    return str(made["id"])


def code_of(package: str, entrypoint: str = "net:build") -> dict[str, object]:
    return {"entrypoint": entrypoint, "package": package, "kwargs": {"hidden": 4}}


def test_what_is_in_a_package_is_shown_and_what_is_no_package_is_told(client: TestClient) -> None:
    info = client.get(f"/v1/datasets/{uploaded(client)}").json()["info"]
    assert info["modules"] == [{"name": "net", "names": ["Net", "build", "nn", "torch"], "open": False}]
    bad = client.post("/v1/datasets", data={"format": "package"}, files={"file": ("net.zip", packed({"a.so": b""}))})
    assert (bad.json()["state"], bad.json()["info"]) == ("invalid", None)
    assert "neither Python nor plain text" in bad.json()["error"]


def test_it_runs_where_the_server_says_so(client: TestClient, dataset: str, allowed: Allowed) -> None:
    """Without keys, whoever started the service decides; off unless said."""
    package = uploaded(client)
    body = spec(dataset, model=code_of(package))
    for query in ("", "?validate_only=true"):
        refused = client.post(f"/v1/jobs{query}", json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "code_disabled")
        assert "WARPADAM_ALLOW_CODE" in refused.json()["detail"]
    allowed(True)
    assert client.post("/v1/jobs?validate_only=true", json=body).status_code == 200
    made = client.post("/v1/jobs", json=body)
    assert made.status_code == 201
    assert made.json()["spec"]["model"] == code_of(package)
    assert client.delete(f"/v1/datasets/{package}").json()["code"] == "in_use"


@pytest.mark.parametrize("query", ["", "?validate_only=true"])
def test_packages_and_data_are_not_confused(client: TestClient, dataset: str, allowed: Allowed, query: str) -> None:
    package = uploaded(client)
    allowed(True)
    for body, param in (
        (spec(package), "dataset"),
        (spec(dataset, model=code_of(dataset)), "model.package"),
        (spec(dataset, model=code_of(package, "net:gone")), "model.entrypoint"),
    ):
        answer = client.post(f"/v1/jobs{query}", json=body)
        assert (answer.status_code, answer.json()["param"]) == (422, param)


def test_a_key_needs_the_scope_even_where_it_is_an_admins(built_app: FastAPI, allowed: Allowed) -> None:
    services = allowed(True)
    admin = client_of(built_app, new_key(services, "alpha", "admin")[1])
    coder = client_of(built_app, new_key(services, "alpha", "admin", "code:run")[1])
    other = client_of(built_app, new_key(services, "beta", "admin", "code:run")[1])
    package, data = uploaded(admin), admin.post("/v1/datasets", json={"builtin": "digits"}).json()["id"]
    body = spec(data, task="classification", model=code_of(package))
    refused = admin.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "code_disabled")
    assert "scope code:run" in refused.json()["detail"]
    assert coder.post("/v1/jobs", json=body).status_code == 201
    theirs = other.post("/v1/datasets", json={"builtin": "digits"}).json()["id"]
    unknown = other.post("/v1/jobs", json=spec(theirs, task="classification", model=code_of(package)))
    assert (unknown.status_code, unknown.json()["code"]) == (422, "dataset_not_found")
