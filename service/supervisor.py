"""Children of `serve`: started, started again when they die, and ended in order with all they started.

Invariants: each child leads a process group of its own; a new start of a child waits until the group of the last one is
gone; whatever way the supervisor itself ends, the warden (service/warden.py) finishes what is left, and there always is
one; whatever of the service somebody stops is ended before long, for it may hold a lock that all the others wait for.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from service.frost import Frost
from service.processes import MARK_VARIABLE, end_group, remove_folders, stopped, sweep
from service.rotation import rotate_large

log = logging.getLogger(__name__)

FIRST_DELAY_S, LAST_DELAY_S = 1.0, 30.0
HEALTHY_AFTER_S = 60.0
"""A child that lived this long starts again with the first delay."""
WARDEN_S = 30.0
"""At the end the warden has so long for what is left."""


def next_delay(previous: float | None, lived_s: float) -> float:
    """Seconds until a dead child is started again: 1, 2, 4 … 30."""
    if previous is None or lived_s >= HEALTHY_AFTER_S:
        return FIRST_DELAY_S
    return min(LAST_DELAY_S, previous * 2)


@dataclass
class Child:
    """One supervised program. `command` is asked anew at each start."""

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    grace_s: float
    log_file: Path
    most_log_bytes: int = 64 * 2**20
    """Of `log_file` and older ones beside it: a full one is put aside when the child starts."""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float | None = None
    start_at: float = field(default=0.0)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Runs children until `stop` is set. They are ended in the order in which they are given."""

    def __init__(
        self, children: Sequence[Child], *, mark: str, folder: Path, lock: int, frozen_s: float = 30.0
    ) -> None:
        """`folder`: temporary, removed at the end. `lock`: descriptor that the warden keeps open until all is gone.

        `frozen_s`: what carries the mark and was stopped for so long is killed.
        """
        self.children = children
        self.mark = mark
        self.folder = folder
        self.stop = threading.Event()
        self._lock = lock
        self._frost = Frost(frozen_s)
        self.warden = self._hire()

    def _hire(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "service.warden", self.mark, str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[self._lock],
            env=with_our_packages(os.environ),
        )

    def tick(self) -> None:
        """Starts what is to be started, notices what has died or was stopped."""
        self._end_stopped()
        if self.warden.poll() is not None:
            self._replace_warden()
        for rank, child in enumerate(self.children):
            if child.process is not None and child.process.poll() is not None:
                self._died(child, child.process)
            if child.process is None and time.monotonic() >= child.start_at and not self.stop.is_set():
                self._start(rank, child)

    def _start(self, rank: int, child: Child) -> None:
        rotate_large(child.log_file, child.most_log_bytes)
        with child.log_file.open("ab") as output:
            child.process = subprocess.Popen(
                list(child.command()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**child.environment, MARK_VARIABLE: self.mark},
            )
        child.started = time.monotonic()
        self._tell_warden(rank, child)

    def _tell_warden(self, rank: int, child: Child) -> None:
        """One that is just dying does not hear it; the one after it is told anew."""
        assert self.warden.stdin is not None
        assert child.process is not None
        with suppress(BrokenPipeError):
            self.warden.stdin.write(f"{rank} {child.process.pid} {child.grace_s}\n".encode())
            self.warden.stdin.flush()

    def _replace_warden(self) -> None:
        log.warning("the warden ended with code %s: there is a new one", self.warden.returncode)
        _hang_up(self.warden)
        self.warden = self._hire()
        for rank, child in enumerate(self.children):
            if child.process is not None:
                self._tell_warden(rank, child)

    def _end_stopped(self) -> None:
        for pid in self._frost.bitten(chain(stopped(self.mark), [self.warden.pid])):
            log.warning("process %d was stopped and not continued for %g s: it is ended", pid, self._frost.patience_s)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _died(self, child: Child, process: subprocess.Popen[bytes]) -> None:
        end_group(process.pid, 0.0)
        child.process = None
        child.delay = next_delay(child.delay, time.monotonic() - child.started)
        child.start_at = time.monotonic() + child.delay
        log.warning(
            "%s ended with code %s; starting it again in %.0f s (%s)",
            child.name,
            process.returncode,
            child.delay,
            child.log_file,
        )

    def run(self) -> None:
        """Watches until `stop`."""
        while not self.stop.wait(0.1):
            self.tick()

    def close(self) -> None:
        """Ends all children, in order, and all that they left."""
        for child in self.children:
            if child.process is not None:
                if not end_group(child.process.pid, child.grace_s):
                    log.warning("processes of %s could not be ended", child.name)
                child.process.wait()
        if left := sweep(self.mark):
            log.info("ended %d more processes that had left their groups", left)
        remove_folders([self.folder])
        _hang_up(self.warden)
        try:
            self.warden.wait(WARDEN_S)
        except subprocess.TimeoutExpired:  # somebody stopped it, and there is nothing left for it to do
            self.warden.kill()
            self.warden.wait()


def _hang_up(warden: subprocess.Popen[bytes]) -> None:
    assert warden.stdin is not None
    with suppress(BrokenPipeError):
        warden.stdin.close()


def with_our_packages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the folder of our packages first on PYTHONPATH, so that children find them anywhere."""
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *(path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path != root)]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}
