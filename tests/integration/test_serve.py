"""`serve` as a user meets it: a job by HTTP, every part killed once, and nothing left at the end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from service.processes import marked

JOB = {
    "family": "digits",
    "dataset": {"builtin": "digits"},
    "task": "classification",
    "model": {"arch": "mlp", "hidden": [16]},
    "training": {"steps": 40, "batch_size": 32, "eval_every": 20, "sync_every": 20, "seed": 1},
}


def until(condition: Callable[[], Any], seconds: float = 90) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)
    return found


@dataclass
class Served:
    folder: Path
    process: subprocess.Popen[bytes]
    client: httpx.Client

    def get(self, path: str) -> Any:
        return self.client.get(path).raise_for_status().json()

    def submit(self, **training: object) -> str:
        answer = self.client.post("/v1/jobs", json={**JOB, "training": {**JOB["training"], **training}})  # type: ignore[dict-item]
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def ends(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = until(
            lambda: job if (job := self.get(f"/v1/jobs/{job_id}"))["finished_at"] is not None else None
        )
        return found

    def part(self, *words: str) -> psutil.Process:
        """The living child of the supervisor whose command line has these words."""

        def find() -> psutil.Process | None:
            for child in psutil.Process(self.process.pid).children():
                if child.status() != psutil.STATUS_ZOMBIE and all(word in child.cmdline() for word in words):
                    return child
            return None

        found: psutil.Process = until(find)
        return found

    @property
    def mark(self) -> str:
        return self.part("api").environ()["WARPADAM_MARK"]


def serve(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "serve.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--data-dir", str(folder), "--port", "0", "--num-cpus", "2"],
            cwd=Path(__file__).parents[2],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "WARPADAM_GRACE_S": "5", "WARPADAM_LEASE_S": "10"},
        )


@pytest.fixture
def served(short_tmp_path: Path) -> Iterator[Served]:
    process = serve(short_tmp_path)
    state = short_tmp_path / "service.json"
    try:
        until(lambda: state.exists() or process.poll() is not None)
        assert state.exists(), (short_tmp_path / "serve.log").read_text()
        with httpx.Client(base_url=json.loads(state.read_text())["url"], timeout=30) as client:
            yield Served(short_tmp_path, process, client)
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(480)  # on a machine that does other things too
def test_a_job_end_to_end_and_every_part_killed_once(served: Served) -> None:
    first = served.ends(served.submit())
    assert first["state"] == "succeeded", first
    assert first["result"]["steps"] == 40
    assert served.get("/v1/families/digits")["champion"] >= 1

    second = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--data-dir", str(served.folder), "--port", "0"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "already runs" in second.stderr

    served.part("workers").kill()
    served.part("ray.scripts.scripts").kill()
    served.part("api").kill()
    until(lambda: _answers(served))
    again = served.ends(served.submit())
    assert again["state"] == "succeeded", again

    running, mark = served.submit(steps=1_000_000), served.mark
    until(lambda: served.get(f"/v1/jobs/{running}")["state"] == "running")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=60) == 0
    assert marked(mark) == []
    assert not (served.folder / "service.json").exists()


def _answers(served: Served) -> bool:
    try:
        return served.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_serve_takes_everything_with_it(served: Served) -> None:
    mark, warden = served.mark, served.part("service.warden")
    served.process.kill()
    served.process.wait()
    until(lambda: not warden.is_running())
    assert marked(mark) == []
