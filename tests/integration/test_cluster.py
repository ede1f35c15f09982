"""The commands of docker-compose.yml by hand: PostgreSQL, object storage, Ray with a token, a job by Ray's Jobs API.

What the containers would be are processes here, each with the variables and secrets of its own: a training worker's
environment holds no password.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from moto.server import ThreadedMotoServer
from sqlalchemy import make_url

from service.processes import end_group

pytestmark = [pytest.mark.ray, pytest.mark.slow]

MINE = "WA_TEST_CLUSTER"
JOB = {
    "family": "digits",
    "dataset": {"builtin": "digits"},
    "task": "classification",
    "model": {"arch": "mlp", "hidden": [16]},
    "training": {"steps": 40, "batch_size": 32, "eval_every": 20, "sync_every": 20, "seed": 1},
    "resources": {"workers": 2, "cpus_per_worker": 0.5},
}


def until(condition: Callable[[], Any], seconds: float = 170) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass
class Cluster:
    """Processes with the commands and variables of the services of docker-compose.yml."""

    folder: Path
    services: dict[str, dict[str, Any]]
    replace: dict[str, str]
    """What stands in the file → what stands for it here."""
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *more: str, command: list[str] | None = None) -> subprocess.Popen[bytes]:
        service = self.services[name]
        words = [self._here(word) for word in command or service["command"]] + list(more)
        if words[0] == "python":
            words[0] = sys.executable
        elif words[0] == "ray":
            words[:1] = [sys.executable, "-m", "ray.scripts.scripts"]
        with (self.folder / f"{name}.log").open("wb") as log:
            self.started[name] = subprocess.Popen(
                words, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=self._environment(name)
            )
        return self.started[name]

    def _environment(self, name: str) -> dict[str, str]:
        """Its variables and nothing of this process's Ray; its secrets in a folder of its own."""
        service = self.services[name]
        own = self.folder / name
        own.mkdir()
        for secret in service.get("secrets", ()):
            shutil.copy(self.folder / "secrets" / secret, own)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "WARPADAM_", "AWS_"))}
        asked = {key: self._here(str(value)) for key, value in service.get("environment", {}).items()}
        asked = {key: value.replace("/run/secrets", str(own)) for key, value in asked.items()}
        patience = {
            "RAY_raylet_start_wait_time_s": "120",
            "RAY_agent_register_timeout_ms": "120000",
        }  # on a busy machine
        return {**kept, **patience, **asked, "TMPDIR": "/tmp", MINE: self.mark, "RAY_TMPDIR": str(self.folder / "ray")}

    def _here(self, text: str) -> str:
        for there, here in self.replace.items():
            text = text.replace(there, here)
        return text

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def ours(self) -> list[psutil.Process]:
        """Everything alive that these processes started, and they themselves."""
        return [process for process in psutil.process_iter() if self.environment_of(process).get(MINE) == self.mark]

    @staticmethod
    def environment_of(process: psutil.Process) -> dict[str, str]:
        with suppress(psutil.Error):
            return process.environ() if process.status() != psutil.STATUS_ZOMBIE else {}
        return {}

    def stop(self, name: str) -> int:
        process = self.started.pop(name)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)


@pytest.fixture
def objects() -> Iterator[str]:
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def cluster(root: Path, short_tmp_path: Path, postgres_url: str, objects: str) -> Iterator[Cluster]:
    ports = {name: free_port() for name in ("gcs", "dashboard", "api")}
    subprocess.run([root / "docker/make-secrets", short_tmp_path / "secrets"], check=True, capture_output=True)
    given = short_tmp_path / "secrets" / "warpadam_database_url"
    given.chmod(0o600)
    given.write_text(make_url(postgres_url).set(drivername="postgresql").render_as_string(hide_password=False))
    made = Cluster(
        short_tmp_path,
        yaml.safe_load((root / "docker-compose.yml").read_text())["services"],
        {
            "http://objects:7070": objects,
            "ray-head:6379": f"127.0.0.1:{ports['gcs']}",
            "ray-head:8265": f"127.0.0.1:{ports['dashboard']}",
            "--port=6379": f"--port={ports['gcs']}",
            "--dashboard-host=0.0.0.0": f"--dashboard-port={ports['dashboard']}",
            "0.0.0.0": "127.0.0.1",
            "/data/service": str(short_tmp_path / "data"),
        },
    )
    made.services["api"]["environment"]["WARPADAM_PORT"] = str(ports["api"])
    yield made
    for process in made.started.values():
        end_group(process.pid, 5.0)
        process.wait(20)
    for left in made.ours():
        left.kill()


def start_all(cluster: Cluster) -> httpx.Client:
    """In the order in which compose would, each when what it waits for is there; a client of the API."""
    memory, own = "--object-store-memory=100000000", f"--temp-dir={cluster.folder / 'ray'}"
    assert cluster.start("migrate").wait(60) == 0, cluster.log("migrate")
    assert "newest schema" in cluster.log("migrate")
    cluster.start("ray-head", memory, own, f"--dashboard-agent-listen-port={free_port()}")
    until(lambda: "Ray runtime started" in cluster.log("ray-head"))  # what the head's health check would say
    cluster.start("ray-worker", memory, "--num-cpus=2", f"--dashboard-agent-listen-port={free_port()}")
    cluster.start("dispatcher", command=["python", "-m", "workers"])  # the head's node is the node that it stands on
    cluster.start("api")
    url = f"http://127.0.0.1:{cluster.services['api']['environment']['WARPADAM_PORT']}"
    until(lambda: is_ready(url))
    return httpx.Client(base_url=url, timeout=10)


def is_ready(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    return False


@pytest.mark.timeout(480)  # on a machine that does other things too
def test_a_job_runs_through_the_commands_of_compose(cluster: Cluster, postgres_url: str, objects: str) -> None:
    password = "objects_secret_key"
    told = [postgres_url.split("://")[1], (cluster.folder / "secrets" / password).read_text()]
    seen: dict[int, dict[str, str]] = {}
    with start_all(cluster) as client:
        job = client.post("/v1/jobs", json=JOB).raise_for_status().json()["id"]

        def ended() -> dict[str, Any] | None:
            for process in cluster.ours():
                with suppress(psutil.Error):
                    if any("RayTrainWorker" in word for word in process.cmdline()):
                        seen[process.pid] = cluster.environment_of(process)
            found: dict[str, Any] = client.get(f"/v1/jobs/{job}").json()
            return found if found["finished_at"] else None

        result = until(ended)
        assert result["state"] == "succeeded", (result["failure"], cluster.log("dispatcher"))
        assert len(result["attempts"]) == 1
        assert client.get("/v1/families/digits").json()["latest"] == 1
        content = client.get(f"/v1/jobs/{job}/checkpoints/best/content")
        assert content.status_code == 200
    assert seen, "no training worker was seen"
    for environment in seen.values():
        assert environment
        assert not [each for each in told for value in environment.values() if each in value]
        assert not {"WARPADAM_DATABASE_URL", "AWS_SHARED_CREDENTIALS_FILE"} & environment.keys()
    assert [cluster.stop(name) for name in ("api", "dispatcher")] == [0, 0]
    for name in ("ray-worker", "ray-head"):
        cluster.stop(name)
    until(lambda: not cluster.ours(), 60)
