"""The cluster of docker-compose.yml by its own commands: PostgreSQL, an S3 server, Ray's Jobs API, two dispatchers.

Jobs run on a node without secrets, contribute, are cancelled and paused, and outlive the dispatcher that claimed them.
"""

import io
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import make_url

from tests.fixtures.ray import free_ports
from tests.integration.compose import Place, Stack, load
from tests.workers.code.packed import NET, packed
from tests.workers.plans import regression

pytestmark = [pytest.mark.slow, pytest.mark.minutes, pytest.mark.timeout(900)]

PATIENCE_S = 400.0
ALONE = "--node-ip-address=127.0.0.1 --object-store-memory=80000000"  # several nodes share this machine
MLP = {"arch": "mlp", "hidden": [8]}
HURRY = {
    "WARPADAM_LEASE_S": "10",
    "WARPADAM_PUBLISH_EVERY_S": "0",
    "WARPADAM_ALLOW_CODE": "true",
    "WARPADAM_CODE_CONFINEMENT": "preferred",  # required where the kernel has it
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
NODE_OF_ITS_OWN = 'ray start --address="$WARPADAM_RAY_ADDRESS" --num-cpus=0 --num-gpus=0 && '
"""A dispatcher's container is a node of Ray without CPUs; here it stands on the head's, at the same address."""
OF_A_NODE = "node-manager object-manager metrics-export runtime-env-agent dashboard-agent-grpc dashboard-agent-listen"


@dataclass
class Cluster:
    """A running stack, and a client with an admin's key."""

    stack: Stack
    http: httpx.Client
    dataset: str = ""
    package: str = ""

    def submit(self, workers: int = 2, model: Mapping[str, Any] = MLP, **training: Any) -> str:
        body = {
            "family": "tables",
            "dataset": {"id": self.dataset},
            "task": "regression",
            "model": model,
            "training": {"steps": 60, "batch_size": 8, "sync_every": 20, "eval_every": 0, **training},
            "resources": {"workers": workers, "cpus_per_worker": 1},
        }
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def job(self, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get(f"/v1/jobs/{id_}").json()
        return found

    def until(self, id_: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_S
        while not what(job := self.job(id_)):
            assert job["state"] not in ("failed", "succeeded", "cancelled"), job
            assert time.monotonic() < deadline, json.dumps(job, indent=1)
            time.sleep(0.2)
        return job

    def until_state(self, id_: str, state: str) -> dict[str, Any]:
        return self.until(id_, lambda job: job["state"] == state)


def ports_of_a_node(first: int) -> list[str]:
    """All that a second node on one address must not choose by itself."""
    ports = [f"--{name}-port={port}" for name, port in zip(OF_A_NODE.split(), free_ports(6), strict=True)]
    return [*ALONE.split(), *ports, f"--min-worker-port={first}", f"--max-worker-port={first + 300}"]


@pytest.fixture
def objects() -> Iterator[str]:
    """In the place of the file's S3 server, which is no Python: `host:port` of one that speaks the same protocol."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def stack(root: Path, short_tmp_path: Path, empty_postgres_url: str, objects: str) -> Iterator[Stack]:
    folder, secrets = short_tmp_path, short_tmp_path / "secrets"
    subprocess.run([root / "docker/make-secrets", secrets], check=True, capture_output=True)
    url = secrets / "warpadam_database_url"
    url.chmod(0o600)
    url.write_text(make_url(empty_postgres_url).set(drivername="postgresql").render_as_string(hide_password=False))
    head, dashboard, api = free_ports(3)
    (folder / "data").mkdir()
    replaced = {
        "/run/secrets": str(secrets),
        "objects:7070": objects,
        "http://ray-head:8265": f"http://127.0.0.1:{dashboard}",
        "ray-head:6379": f"127.0.0.1:{head}",
        "--port=6379": f"--port={head}",
        NODE_OF_ITS_OWN: "",
        "http://api:8000": f"http://127.0.0.1:{api}",
        "127.0.0.1:8000": f"127.0.0.1:{api}",
        "8000": str(api),
        "0.0.0.0": "127.0.0.1",
        "/data": str(folder / "data"),
        "/datasets": str(folder),
    }
    file = root / "docker-compose.yml"
    assert all(part.replace("$", "$$") in file.read_text() for part in replaced), "the file says it otherwise now"
    made = Stack(load(file), Place(replaced, folder))
    yield made
    left = made.close()
    assert not left, f"the stack left processes behind: {left}"


@pytest.fixture
def cluster(stack: Stack) -> Iterator[Cluster]:
    ray = HURRY
    dashboard = stack.place.replaced["http://ray-head:8265"].rpartition(":")[2]
    alone = [f"--dashboard-port={dashboard}", f"--temp-dir={stack.place.folder}/ray"]
    stack.start("ray-head", [*ports_of_a_node(20_000), *alone], ray)
    stack.once("migrate")
    key = stack.once(
        "migrate", ["python", "-m", "service", "keys", "create", "--scope", "admin", "--scope", "code:run"]
    ).split()[-1]
    stack.start("api", variables=HURRY)
    stack.wait_healthy("ray-head", PATIENCE_S)
    stack.start("ray-worker", [*ports_of_a_node(21_000), "--num-cpus=4"], ray)
    for name in ("first", "second"):
        stack.start("dispatcher", variables=ray, called=name)
    stack.wait_healthy("api", PATIENCE_S)
    with httpx.Client(
        base_url=stack.place.replaced["http://api:8000"], headers={"Authorization": f"Bearer {key}"}, timeout=60
    ) as http:
        found = Cluster(stack, http)
        found.dataset = upload(http, "values.npz", table())
        found.package = upload(http, "net.zip", packed({"net.py": NET}), format="package")
        yield found


def table() -> bytes:
    split, file = regression(), io.BytesIO()
    np.savez(file, x_train=split.x_train, y_train=split.y_train, x_val=split.x_val, y_val=split.y_val)
    return file.getvalue()


def upload(http: httpx.Client, name: str, content: bytes, **fields: str) -> str:
    answer = http.post("/v1/datasets", data=fields, files={"file": (name, content)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_the_cluster_of_the_compose_file_does_all_it_promises(cluster: Cluster) -> None:
    """A group of workers on the node, and beside it a job that is steered and one with code of its own."""
    group, alone = cluster.submit(workers=2), cluster.submit(workers=1, steps=1_000_000)
    code = cluster.submit(1, {"entrypoint": "net:build", "package": cluster.package, "kwargs": {"hidden": 5}})
    cluster.until(alone, lambda job: job["progress"]["step"] > 0)
    cluster.http.post(f"/v1/jobs/{alone}/pause").raise_for_status()
    reached = cluster.until_state(alone, "paused")["progress"]["step"]
    ended = cluster.until_state(group, "succeeded")
    assert ended["attempts"][0]["submission_id"] == f"{group}-1"
    assert [each["workers"] for each in ended["attempts"][0]["groups"]] == [2]
    cluster.until_state(code, "succeeded")
    for job in (group, code):
        contained_in_a_version(cluster, job)

    cluster.stack.kill("first")
    cluster.http.post(f"/v1/jobs/{alone}/resume").raise_for_status()
    resumed = cluster.until(alone, lambda job: len(job["attempts"]) == 2)
    assert resumed["progress"]["step"] == reached
    cluster.http.post(f"/v1/jobs/{alone}/cancel").raise_for_status()
    cluster.until_state(alone, "cancelled")


def contained_in_a_version(cluster: Cluster, job: str) -> None:
    """Each of its steps was contributed once, and the newest P has them all."""
    ledger = cluster.http.get("/v1/families/tables/contributions").json()["data"]
    ours = [(each["start"], each["end"]) for each in ledger if each["job"] == job]
    assert sum(end - start for start, end in ours) == 60
    newest = cluster.http.get("/v1/families/tables/warps/latest").json()
    assert {each["job"]: each["steps"] for each in newest["jobs"]}[job] == 60
