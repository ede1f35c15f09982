"""docker-compose.yml without Docker: its own commands, variables and health checks as processes of this machine.

Nothing of the file is written anew here, so the two cannot drift. What differs between a container and a process is
replaced by one table: names of hosts with their ports, and folders that a container would have for itself.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.ending import end

Service = dict[str, Any]  # YAML: what a service holds is compose's business

STOP_S = 30.0


@dataclass(frozen=True)
class Place:
    """Where one container's processes run here."""

    replaced: Mapping[str, str]
    """What stands in the file → what stands for it here."""
    folder: Path
    """For logs, and for every path of `secrets`."""


def load(path: Path) -> dict[str, Service]:
    """The services, with YAML's own references resolved."""
    services: dict[str, Service] = yaml.safe_load(path.read_text())["services"]
    return services


def translated(text: str, replaced: Mapping[str, str]) -> str:
    """As compose reads it (`${NAME:-default}`, `$$`), and then with everything that differs here replaced."""
    text = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text).replace("$$", "$")
    theirs = "|".join(re.escape(each) for each in sorted(replaced, key=len, reverse=True))
    return re.sub(theirs, lambda found: replaced[found[0]], text)


def command_of(service: Service, place: Place) -> list[str]:
    command = service["command"]
    assert isinstance(command, list)
    return [translated(part, place.replaced) for part in command]


def environment_of(service: Service, place: Place) -> dict[str, str]:
    """Exactly the service's own variables, and what any process of this machine needs to find its programs."""
    given = {name: translated(str(value), place.replaced) for name, value in service.get("environment", {}).items()}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        "HOME": str(place.folder),
        "LANG": "C.UTF-8",
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": "/tmp",
        **given,
    }


def check_of(service: Service, place: Place) -> list[str]:
    """The command of its health check."""
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    return [translated(part, place.replaced) for part in command]


@dataclass
class Stack:
    """The processes. Everything that was started is ended by `close`, and nothing else is."""

    services: Mapping[str, Service]
    place: Place
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, extra: Sequence[str] = (), variables: Mapping[str, str] = {}, called: str = "") -> None:
        """`extra`: arguments that only several nodes on one machine need; `called`: of a second one."""
        service = self.services[name]
        command = [*command_of(service, self.place), *extra]
        with (self.place.folder / f"{called or name}.log").open("ab") as log:
            self.running[called or name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=ROOT,
                env={**environment_of(service, self.place), **variables},
            )

    def once(self, name: str, command: Sequence[str] = ()) -> str:
        """Runs a service that is to end, as `docker compose run --rm` does; what it printed."""
        service = self.services[name]
        ran = subprocess.run(
            list(command) or command_of(service, self.place),
            env=environment_of(service, self.place),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, f"{name} {shlex.join(command)}: {ran.stdout}{ran.stderr}"
        return ran.stdout

    def wait_healthy(self, name: str, seconds: float, variables: Mapping[str, str] = {}) -> None:
        """Until the service's own health check succeeds."""
        service = self.services[name]
        environment = {**environment_of(service, self.place), **variables}
        deadline = time.monotonic() + seconds
        while subprocess.run(
            check_of(service, self.place), env=environment, capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.log(name)}"
            assert self.running[name].poll() is None, f"{name} has ended:\n{self.log(name)}"
            time.sleep(0.5)

    def log(self, name: str, lines: int = 60) -> str:
        return "\n".join((self.place.folder / f"{name}.log").read_text(errors="replace").splitlines()[-lines:])

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> list[str]:
        """Ends all, last started first; names what was still alive then."""
        return end([*reversed(self.running.values())], STOP_S)
