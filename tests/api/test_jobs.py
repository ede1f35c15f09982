"""Jobs over HTTP: submitted, found, steered, deleted; and what they leave."""

from typing import Any

import pytest
from safetensors.numpy import save
from starlette.testclient import TestClient

from api.deps import Services
from service import clock, cluster
from tests.api.attempt import Attempt
from tests.api.made import npz, orthogonal, spec, warp_file

FIELDS = {
    *(
        "id",
        "object",
        "spec",
        "spec_version",
        "state",
        "warp_version",
        "start_version",
        "created_at",
        "started_at",
        "finished_at",
    ),
    *("transitions", "attempts", "progress", "pending_reason", "result", "failure"),
}


@pytest.fixture
def dataset(client: TestClient) -> str:
    made: dict[str, str] = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()
    return made["id"]


@pytest.fixture
def job(client: TestClient, dataset: str) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json=spec(dataset))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_job_is_made_as_the_contract_says(client: TestClient, dataset: str) -> None:
    answer = client.post("/v1/jobs", json=spec(dataset, name="first", metadata={"owner": "ada"}))
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/jobs/{made['id']}"
    assert set(made) == FIELDS
    assert (made["state"], made["spec_version"], made["warp_version"]) == ("queued", 1, None)
    assert made["spec"]["name"] == "first"
    assert isinstance(made["spec"]["training"]["seed"], int)
    assert made["progress"] == {"step": 0, "of": 10, "eta_s": None}
    assert [each["target"] for each in made["transitions"]] == ["queued"]
    assert made["created_at"].endswith("Z")
    assert client.get(answer.headers["location"]).json() == made


def test_validate_only_makes_nothing(client: TestClient, dataset: str) -> None:
    answer = client.post("/v1/jobs?validate_only=true", json=spec(dataset))
    assert answer.status_code == 200
    assert set(answer.json()) == {"object", "spec", "warp_version", "start_version", "warnings"}
    assert answer.json()["object"] == "job_validation"
    assert client.get("/v1/jobs").json()["data"] == []
    assert client.get("/v1/families").json()["data"] == []


@pytest.mark.parametrize("query", ["", "?validate_only=true"])
@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"dataset": {"id": "ds_none"}}, 422, "dataset_not_found", "dataset.id"),
        ({"task": "classification"}, 422, "invalid_request", "task"),
        ({"optimizer": {"lr": -1}}, 422, "invalid_request", "optimizer.lr"),
        ({"optimizer": {"warp": 7}}, 422, "warp_not_found", "optimizer.warp"),
        ({"init": {"checkpoint": "job_x/best"}}, 422, "checkpoint_not_found", "init.checkpoint"),
        ({"model": {"entrypoint": "a.b:c", "package": "ds_x"}}, 403, "code_disabled", "model.entrypoint"),
        ({"training": {"batch_size": 1000}}, 422, "invalid_request", "training.batch_size"),
        ({"colour": "red"}, 422, "invalid_request", "colour"),
    ],
)
def test_mistakes(
    client: TestClient, dataset: str, query: str, change: dict[str, Any], status: int, code: str, param: str
) -> None:
    answer = client.post(f"/v1/jobs{query}", json=spec(dataset, **change))
    body = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["param"] in (param, param.split(".", maxsplit=1)[0], None) if status == 403 else body["param"] == param


def test_a_p_for_other_axes_is_refused(client: TestClient, dataset: str) -> None:
    client.post("/v1/families", json={"name": "patches"})
    client.post(
        "/v1/families/patches/warps", content=warp_file(size=9), headers={"content-type": "application/octet-stream"}
    )
    answer = client.post("/v1/jobs", json=spec(dataset, optimizer={"warp": 1}))
    assert (answer.status_code, answer.json()["param"]) == (422, "optimizer.warp")


def test_a_job_that_can_never_fit_says_so(client: TestClient, services: Services, dataset: str) -> None:
    data = {"nodes": [{"id": "n1", "cpus": 2, "gpus": 0}], "cpus": 2, "gpus": 0}
    services.database.write(lambda s: cluster.write_snapshot(s, "d", data, clock.now()))
    body = spec(dataset, resources={"gpus_per_worker": 4})
    made = client.post("/v1/jobs", json=body).json()
    assert made["pending_reason"]["code"] == "too_large"
    assert set(made["pending_reason"]) == {"code", "message"}
    warnings = client.post("/v1/jobs?validate_only=1", json=body).json()["warnings"]
    assert [each["code"] for each in warnings] == ["too_large"]


def test_jobs_are_found_by_their_filters(client: TestClient, dataset: str) -> None:
    ids = {}
    for owner, family in (("ada", "a"), ("ben", "b"), ("cyd", "b")):
        ids[owner] = client.post("/v1/jobs", json=spec(dataset, family=family, metadata={"owner": owner})).json()["id"]
    client.post(f"/v1/jobs/{ids['cyd']}/cancel")

    def found(query: str) -> set[str]:
        return {owner for owner, id_ in ids.items() if id_ in {j["id"] for j in jobs(query)}}

    def jobs(query: str) -> list[dict[str, Any]]:
        data: list[dict[str, Any]] = client.get(f"/v1/jobs{query}").json()["data"]
        return data

    assert found("") == {"ada", "ben", "cyd"}
    assert found("?family=b") == {"ben", "cyd"}
    assert found("?family=b&state=queued") == {"ben"}
    assert found("?state=queued&state=cancelled&family=b&family=a") == {"ada", "ben", "cyd"}
    assert found("?metadata[owner]=ada") == {"ada"}
    assert found("?metadata[owner]=ada&metadata[owner]=ben") == {"ada", "ben"}
    assert found("?metadata[other]=ada") == set()
    assert client.get("/v1/jobs?state=sleeping").json()["param"].startswith("state")
    assert client.get("/v1/jobs?metadata=ada").status_code == 422
    assert client.get("/v1/jobs?metadata[owner][name]=ada").json()["param"] == "metadata"
    assert client.get("/v1/jobs?stat=queued").json()["param"] == "stat"


def test_a_cursor_is_bound_to_its_filters(client: TestClient, dataset: str) -> None:
    for _ in range(3):
        client.post("/v1/jobs", json=spec(dataset))
    cursor = client.get("/v1/jobs?limit=1&state=queued").json()["next_cursor"]
    assert len(client.get(f"/v1/jobs?limit=5&state=queued&after={cursor}").json()["data"]) == 2
    assert client.get(f"/v1/jobs?limit=5&after={cursor}").json()["param"] == "after"


def test_a_job_is_steered(client: TestClient, job: dict[str, Any]) -> None:
    path = f"/v1/jobs/{job['id']}"
    assert client.post(f"{path}/pause").json()["state"] == "paused"
    assert client.post(f"{path}/resume").json()["state"] == "queued"
    assert client.post(f"{path}/resume").json()["code"] == "invalid_state"
    assert client.delete(path).status_code == 409
    assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{path}/cancel").status_code == 200
    assert client.delete(path).json()["deleted"] is True
    assert client.get(path).status_code == 404
    assert client.post(f"{path}/cancel").status_code == 404


def test_a_job_that_ended_cannot_be_cancelled(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    attempt = Attempt.begin(services.database)
    attempt.finish(result={"steps": 10, "seconds": 1.0, "final": {"val_loss": 0.5}, "best": {"val_loss": 0.5}})
    ended = client.get(f"/v1/jobs/{job['id']}").json()
    assert (ended["state"], ended["result"]["final"]) == ("succeeded", {"val_loss": 0.5})
    assert [each["outcome"] for each in ended["attempts"]] == ["succeeded"]
    assert [each["target"] for each in ended["transitions"]] == ["queued", "starting", "running", "succeeded"]
    answer = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_state")


def test_metrics(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    attempt = Attempt.begin(services.database)
    attempt.metric("val_loss", [float(i) for i in range(50)])
    attempt.metric("lr", [0.1, 0.2])
    path = f"/v1/jobs/{job['id']}/metrics"
    both = client.get(path).json()
    assert (both["object"], set(both["data"])) == ("metrics", {"val_loss", "lr"})
    assert both["data"]["lr"][1].items() >= {"step": 1, "value": 0.2}.items()
    few = client.get(f"{path}?name=val_loss&max_points=5").json()["data"]
    assert set(few) == {"val_loss"}
    assert len(few["val_loss"]) <= 5
    assert (few["val_loss"][0]["step"], few["val_loss"][-1]["step"]) == (0, 49)
    for wrong in (1, 0, -1, 10_001):
        assert client.get(f"{path}?max_points={wrong}").json()["param"] == "max_points"


def test_checkpoints(client: TestClient, services: Services, job: dict[str, Any]) -> None:
    first, second = (save({"w": orthogonal(3, seed)}) for seed in (1, 2))
    attempt = Attempt.begin(services.database)
    attempt.checkpoint(services.storage, first, 5, is_best=True)
    attempt.checkpoint(services.storage, second, 10, is_best=False)
    path = f"/v1/jobs/{job['id']}/checkpoints"
    listed = client.get(path).json()["data"]
    assert [(each["step"], each["is_best"], each["is_last"]) for each in listed] == [
        (10, False, True),
        (5, True, False),
    ]
    assert "path" not in listed[0]
    assert client.get(f"{path}/best/content").content == first
    assert client.get(f"{path}/last/content").content == second
    part = client.get(f"{path}/5/content", headers={"range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, first[8:16])
    for missing in ("6", "-1", "worst", "9" * 30):
        assert client.get(f"{path}/{missing}/content").status_code == 404


def test_a_base_model_is_uploaded(client: TestClient) -> None:
    data = save({"w": orthogonal(3), "b": orthogonal(1)[0]})
    kind = {"content-type": "application/octet-stream"}
    answer = client.post("/v1/checkpoints", content=data, headers=kind)
    assert answer.status_code == 201
    assert answer.json()["id"].startswith("ckpt_")
    assert (answer.json()["size"], answer.json()["job"]) == (len(data), None)
    assert client.post("/v1/checkpoints", files={"file": ("w.safetensors", data)}).status_code == 201


@pytest.mark.parametrize(
    "data",
    [b"", b"\x80\x04.", save({"w": orthogonal(3)})[:-4], save({"w": orthogonal(3)}) + b"x", save({}), b"\0" * 64],
)
def test_what_are_no_weights_is_refused(client: TestClient, data: bytes) -> None:
    answer = client.post("/v1/checkpoints", content=data, headers={"content-type": "application/octet-stream"})
    assert (answer.status_code, answer.json()["param"]) == (422, "file")
