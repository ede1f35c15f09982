"""`submit --watch` and `logs -f` while the server is killed and comes back: nothing is lost, nothing told twice."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.db.session import Database
from tests.api.attempt import Attempt
from tests.warpadam.commands.test_commands import SPEC, Type, typed, warpadam
from warpadam import Client
from warpadam.sdk.errors import ConnectionFailed

__all__ = ["typed", "warpadam"]
WITHIN_S = 90.0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return found


class Machine:
    """A service on a port of its own, and commands that talk to it; all of them processes."""

    def __init__(self, folder: Path, database_url: str, root: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.folder, self.root, self.url = folder, root, f"http://127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            **{"PYTHONPATH": str(root), "WARPADAM_URL": self.url, "WARPADAM_PORT": str(port)},
            **{"WARPADAM_DATA_DIR": str(folder), "WARPADAM_DATABASE_URL": database_url},
        }
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Output goes to `name`.out and `name`.err."""
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.folder, env=self.environment, stdout=out, stderr=err
            )
        self.started.append(process)
        return process

    def serve(self) -> subprocess.Popen[bytes]:
        process = self.start("api", "api")
        with Client(self.url, tries=1) as client:
            until(lambda: answers(client))
        return process

    def said(self, name: str) -> str:
        return (self.folder / name).read_text()


def answers(client: Client) -> bool:
    try:
        return bool(client.cluster())
    except ConnectionFailed:
        return False


def test_watching_survives_a_restart_of_the_server(tmp_path: Path, sqlite_url: str, root: Path) -> None:
    machine, database = Machine(tmp_path, sqlite_url, root), Database(sqlite_url)
    (tmp_path / "job.yaml").write_text(SPEC)
    try:
        server = machine.serve()
        watcher = machine.start("watch", "warpadam.cli", "submit", "job.yaml", "--watch")
        with Client(machine.url) as client:
            (job,) = until(lambda: list(client.jobs.list()))
        follower = machine.start("logs", "warpadam.cli", "logs", job.id, "-f", "--events", "--json")
        attempt = Attempt.begin(database)
        attempt.tell("before")
        until(lambda: "running" in machine.said("watch.err") and "before" in machine.said("logs.out"))

        server.kill()
        server.wait()
        attempt.tell("meanwhile")
        until(lambda: "no answer from the service" in machine.said("watch.err"))
        machine.serve()
        attempt.tell("after")
        final = {"val_loss": 0.25}
        attempt.finish(result={"steps": 10, "seconds": 1.5, "final": final, "best": {**final, "step": 10}})

        assert watcher.wait(WITHIN_S) == 0, machine.said("watch.err")
        assert machine.said("watch.out") == f"{job.id} succeeded, val_loss 0.2500\n"
        assert follower.wait(WITHIN_S) == 0, machine.said("logs.err")
        events = [json.loads(line) for line in machine.said("logs.out").splitlines()]
        assert [event["message"] for event in events if event["type"] == "progress"] == ["before", "meanwhile", "after"]
        assert len({event["id"] for event in events}) == len(events)
        assert events[-1]["type"] == "end"
    finally:
        for process in machine.started:
            process.kill()
            process.wait()
        database.dispose()


def test_an_interrupt_ends_the_watching_and_not_the_job(warpadam: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("warpadam.sdk.transport.time.sleep", interrupted)
    said = warpadam("watch", job_id)
    assert said.code == 130
    assert f"warpadam watch {job_id}" in said.err
    assert warpadam("show", job_id, "--json").json["state"] == "queued"
