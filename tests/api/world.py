"""A project with one of everything, and for each call of the API what makes it succeed there.

The walks over the OpenAPI document (test_walks.py) look calls up here, so a new route fails them until it has its line.
"""

from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from api.deps import Services
from service import clock, keys
from service.access import COMMAND, SCOPES, Caller
from tests.api.attempt import Attempt
from tests.api.made import npz, spec, warp_file
from tests.starts import make_start

BASE_URL = "http://localhost:8000"
Operation = tuple[str, str]
"""Path and method, as the OpenAPI document has them."""


def new_key(services: Services, project: str, *scopes: str) -> tuple[str, str]:
    """(id, secret) of a key made at the server's command line."""
    caller = Caller(project, COMMAND, frozenset(SCOPES))
    made = services.database.write(
        lambda session: keys.create(session, caller, name="test", scopes=scopes, now=clock.now())
    )
    return made.key.id, made.secret


def client_of(app: FastAPI, secret: str) -> TestClient:
    headers = {"authorization": f"Bearer {secret}"}
    return TestClient(app, base_url=BASE_URL, headers=headers, raise_server_exceptions=False)


@dataclass(frozen=True)
class Call:
    """What a call sends beside its path; `fills` are path parameters other than the world's own."""

    json: Any = None
    files: dict[str, tuple[str, bytes]] | None = None
    fills: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class World:
    """What one project has; `ids` fill the parameters of paths."""

    client: TestClient
    ids: dict[str, str]
    calls: dict[Operation, Call]
    markers: list[str]
    """What nobody else may ever be shown."""


GHOSTS = {
    "job_id": "job_" + "0" * 26,
    "dataset_id": "ds_" + "0" * 26,
    "key_id": "key_" + "0" * 26,
    "webhook_id": "wh_" + "0" * 26,
    "match_id": "match_" + "0" * 26,
    "delivery_id": "dlv_" + "0" * 26,
    "family": "ghosts",
    "which": "1",
    "version": "1",
    "alias": "stable",
}
"""Ids that nobody has. The last three name something only inside of what the others name."""


def build(app: FastAPI, services: Services, project: str) -> World:
    """Everything is made over the API, with a key that may do all; only the attempt of a job has no route."""
    key, secret = new_key(services, project, "admin")
    client = client_of(app, secret)
    family, spare = f"{project}-patches", f"{project}-spare"

    def made(path: str, **sent: Any) -> dict[str, Any]:
        answer = client.post(path, **sent)
        assert answer.status_code < 300, answer.text
        body: dict[str, Any] = answer.json()
        return body

    dataset = made("/v1/datasets", files={"file": ("a.npz", npz())})["id"]
    unused = made("/v1/datasets", files={"file": ("b.npz", npz(seed=1))})["id"]
    for name in (family, spare):
        made("/v1/families", json={"name": name})
    made(f"/v1/families/{family}/warps", files={"file": ("p", warp_file())})
    assert client.put(f"/v1/families/{family}/aliases/stable", json={"version": 1}).status_code == 200
    job = spec(dataset, family=family)
    ended = made("/v1/jobs", json=job)["id"]
    attempt = Attempt.begin(services.database)
    attempt.checkpoint(services.storage, b"model", 1)
    attempt.finish()
    queued, paused = (made("/v1/jobs", json=job)["id"] for _ in range(2))
    made(f"/v1/jobs/{paused}/pause")
    spare_key = made("/v1/keys", json={"scopes": ["jobs:read"]})["id"]
    hook, spare_hook = (made("/v1/webhooks", json={"url": "https://192.0.2.7/h"})["id"] for _ in range(2))
    asked = {"dataset": {"id": dataset}, "task": "regression", "model": {"arch": "mlp", "hidden": [8]}}
    match = made("/v1/families/match", json=asked)["id"]
    sent = made(f"/v1/webhooks/{hook}/test")["id"]
    make_start(services.database, services.storage, project, family)
    numbers = {"which": "1", "version": "1"}
    ids = {"job_id": ended, "dataset_id": dataset, "key_id": key, "webhook_id": hook, "family": family}
    ids |= {"alias": "stable", "match_id": match, "delivery_id": sent, **numbers}
    calls = _calls(job, queued=queued, paused=paused, unused=unused, spare=spare, spare_key=spare_key)
    calls[("/v1/families/match", "post")] = Call(json=asked)
    calls[("/v1/webhooks", "post")] = Call(json={"url": "https://192.0.2.7/h", "events": ["end"]})
    calls[("/v1/webhooks/{webhook_id}", "patch")] = Call(json={"events": ["end"]})
    calls[("/v1/webhooks/{webhook_id}/rotate", "post")] = Call()
    calls[("/v1/webhooks/{webhook_id}/test", "post")] = Call()
    calls[("/v1/webhooks/{webhook_id}", "delete")] = Call(fills={"webhook_id": spare_hook})
    markers = [project, family, spare, dataset, unused, ended, queued, paused, key, spare_key, hook, spare_hook, match]
    markers.append(sent)
    return World(client, ids, calls, markers)


def _calls(
    job: dict[str, Any], *, queued: str, paused: str, unused: str, spare: str, spare_key: str
) -> dict[Operation, Call]:
    """In the order of a walk in which all succeed."""
    weights = {"file": ("w.safetensors", warp_file(3))}
    return {
        ("/v1/jobs", "post"): Call(json=job),
        ("/v1/jobs/{job_id}/pause", "post"): Call(fills={"job_id": queued}),
        ("/v1/jobs/{job_id}/resume", "post"): Call(fills={"job_id": paused}),
        ("/v1/jobs/{job_id}/cancel", "post"): Call(fills={"job_id": queued}),
        ("/v1/datasets", "post"): Call(files={"file": ("c.npz", npz(seed=2))}),
        ("/v1/checkpoints", "post"): Call(files=weights),
        ("/v1/families", "post"): Call(json={"name": "walked"}),
        ("/v1/families/{family}", "patch"): Call(json={"description": "d"}),
        ("/v1/families/{family}/warps", "post"): Call(files={"file": ("p", warp_file(2))}),
        ("/v1/families/{family}/aliases/{alias}", "put"): Call(json={"version": 2}),
        ("/v1/keys", "post"): Call(json={"scopes": ["jobs:read"]}),
        ("/v1/families/{family}/aliases/{alias}", "delete"): Call(),
        ("/v1/jobs/{job_id}", "delete"): Call(),
        ("/v1/datasets/{dataset_id}", "delete"): Call(fills={"dataset_id": unused}),
        ("/v1/keys/{key_id}", "delete"): Call(fills={"key_id": spare_key}),
        ("/v1/families/{family}", "delete"): Call(fills={"family": spare}),
    }


def operations(app: FastAPI) -> list[Operation]:
    """All of /v1 and of Prometheus: what a key opens."""
    paths = app.openapi()["paths"]
    return [(path, method) for path in paths for method in paths[path] if path.startswith(("/v1/", "/metrics"))]


def filled(path: str, ids: dict[str, str]) -> str:
    """The path with its parameters; a KeyError names one that `World.ids` and `GHOSTS` should have."""
    return path.format_map(ids)
