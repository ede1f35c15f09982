"""A whole service under test: `serve` on SQLite or PostgreSQL, its storage on a small disk where that can be had."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from service.db.session import Database
from service.processes import MARK_VARIABLE, end_group
from service.storage import Storage
from tests.chaos.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
DISK_MB = 96
START_S = 600.0
CLOCK_STEPS = ROOT / "tests" / "chaos" / "clock_steps"
ENVIRONMENT = {
    "WARPADAM_LEASE_S": "15",
    "WARPADAM_HEARTBEAT_S": "0.5",
    "WARPADAM_GRACE_S": "8",
    "WARPADAM_PUBLISH_EVERY_S": "3",
    "RAY_worker_niceness": "0",
}
"""Short where a round waits for it; long where a busy machine would be taken for a dead one, on which Ray's workers
would not get a turn with the niceness that Ray gives them."""


def until(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true answer; AssertionError, naming what did not happen, after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: did not happen within {seconds:.0f} s")
        time.sleep(0.1)
    return found


def _is_passing(response: httpx.Response) -> bool:
    """Whether the same request may do better later."""
    if response.status_code == 409:
        return bool(response.json().get("code") == "idempotency_in_flight")
    return response.status_code in (429, 500, 503, 507)


@dataclass
class House:
    kind: str
    """sqlite or postgresql."""
    cpus: int = 2
    gpus: int | None = None
    """As many as Ray is told of, whether they exist or not; None: what it finds."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Settings beside the usual ones."""
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="wa-chaos-", dir="/tmp")))
    process: subprocess.Popen[bytes] | None = None
    postgres: Postgres | None = None
    has_disk: bool = False
    left: list[str] = field(default_factory=list)
    """Temporary folders of services that were killed, and that nobody removed."""
    _ray_folder: Path | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    @property
    def temporary(self) -> Path:
        """Where the service's programs put what is not to stay."""
        return self.folder / "t"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.data / 'warpadam.db'}" if self.postgres is None else self.postgres.url

    def set_clock(self, ahead_s: float) -> None:
        """So many seconds away from the real time; everybody sees it within a second."""
        written = self.folder / "clock.new"
        written.write_text(f"{ahead_s:+.0f}")
        written.replace(self.folder / "clock")

    def open(self) -> "House":
        self.data.mkdir()
        self.disk.mkdir()
        self.temporary.mkdir()
        self.set_clock(0.0)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(self.disk)]
        with suppress(OSError):
            self.has_disk = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        if self.kind == "postgresql":
            self.postgres = Postgres.start(self.folder / "pg")
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        self.database = Database(self.database_url)
        self.storage = Storage(str(self.disk))
        return self

    def start(self) -> None:
        """Starts `serve` and waits until it is ready."""
        announcement = self.data / "service.json"
        ours = {
            "WARPADAM_STORAGE_URL": str(self.disk),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(CLOCK_STEPS),
            "CHAOS_CLOCK": str(self.folder / "clock"),
        }
        if self.postgres is not None:
            ours["WARPADAM_DATABASE_URL"] = self.postgres.url
        with (self.data / "serve.log").open("ab") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "service", "serve", "--data-dir", str(self.data), "--port", "0"),
                    *("--num-cpus", str(self.cpus), "--object-store-mb", "100"),
                    *([] if self.gpus is None else ["--num-gpus", str(self.gpus)]),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "OMP_NUM_THREADS": "1", **ENVIRONMENT, **self.variables, **ours},
            )
        process = self.process
        until(lambda: self._announced(process, announcement), "serve is ready", START_S)
        said = json.loads(announcement.read_text())
        self.url, self.ray_address = said["url"], said["ray_address"]
        marks = {child.environ().get(MARK_VARIABLE) for child in psutil.Process(process.pid).children()}
        (self.mark,) = marks - {None}
        for head in self.children("ray.scripts.scripts", "start")[:1]:
            words = [word for word in head.cmdline() if word.startswith("--temp-dir=")]
            self._ray_folder = Path(words[0].partition("=")[2]).parent

    def _announced(self, process: subprocess.Popen[bytes], announcement: Path) -> bool:
        if process.poll() is not None:
            raise AssertionError(
                f"serve ended with {process.returncode}: {(self.data / 'serve.log').read_text()[-2000:]}"
            )
        if not announcement.exists():
            return False
        with suppress(ValueError):
            return bool(json.loads(announcement.read_text())["pid"] == process.pid)
        return False

    def call(self, method: str, path: str, body: object = None, seconds: float = 120.0) -> httpx.Response:
        """An HTTP call as a good client makes it: with a key for safe repeats, again while nobody answers."""
        headers = {"Idempotency-Key": os.urandom(8).hex()} if method == "POST" else {}
        deadline = time.monotonic() + seconds
        while True:
            try:
                response = httpx.request(method, self.url + path, json=body, headers=headers, timeout=20)
                if not _is_passing(response) or time.monotonic() > deadline:
                    return response
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.3)

    def submit(self, body: object) -> str:
        response = self.call("POST", "/v1/jobs", body)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def children(self, *words: str) -> list[psutil.Process]:
        """Living processes of this service whose command line has all these words."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                line = " ".join(process.cmdline())
                if all(word in line for word in words) and self._is_ours(process):
                    found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(MARK_VARIABLE) == self.mark

    def kill_serve(self) -> None:
        """Kills the supervisor itself; the warden ends all else; a new one is started."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        until(lambda: not self.children(), "the warden ends everything", START_S)
        until(lambda: not self.wardens(), "the warden itself ends", START_S)
        self._note_left()
        self.start()

    def _note_left(self) -> None:
        if self._ray_folder is not None and self._ray_folder.exists():
            self.left.append(f"{self._ray_folder}, the folder of a service that is gone")

    def wardens(self) -> list[psutil.Process]:
        """It carries no mark, for it ends what does, but names it."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = process.cmdline()
                if "service.warden" in line and self.mark in line and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def supervisors(self) -> list[psutil.Process]:
        assert self.process is not None
        return [psutil.Process(self.process.pid)]

    def close(self) -> list[str]:
        """Ends everything; what is still there then."""
        left: list[str] = []
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
            left = [" ".join(process.cmdline())[:150] for process in self.children()]
            if self.process.poll() is None:
                left.append("serve itself")
                end_group(self.process.pid, 0.0)
                self.process.kill()
                self.process.wait()
            self._note_left()
        left += self.left
        self.database.dispose()
        self.end()
        return left

    def end(self) -> None:
        """Ends what is not the service itself, and that too where it is still there."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(120)
        if self.postgres is not None:
            self.postgres.stop()
        if self.has_disk:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def opened(house: House) -> Iterator[House]:
    """Open until the end, and then removed. AssertionError where anything of it is left."""
    house.open()
    left = ["its end was not reached"]
    try:
        yield house
    finally:
        left = house.close()
        house.remove()
    assert left == []
