"""Children of `serve`: started, started again when they die, and ended in order with all they started.

Invariants: each child leads a process group of its own; a new start of a child waits until the group of the last one is
gone; whatever way the supervisor itself ends, the warden (service/warden.py) finishes what is left.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.processes import MARK_VARIABLE, end_group, remove_folders, sweep

log = logging.getLogger(__name__)

FIRST_DELAY_S, LAST_DELAY_S = 1.0, 30.0
HEALTHY_AFTER_S = 60.0
"""A child that lived this long starts again with the first delay."""


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
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float | None = None
    start_at: float = field(default=0.0)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None


class Supervisor:
    """Runs children until `stop` is set. They are ended in the order in which they are given."""

    def __init__(self, children: Sequence[Child], *, mark: str, folder: Path, lock: int) -> None:
        """`folder`: temporary, removed at the end. `lock`: descriptor that the warden keeps open until all is gone."""
        self.children = children
        self.mark = mark
        self.folder = folder
        self.stop = threading.Event()
        self.warden = subprocess.Popen(
            [sys.executable, "-m", "service.warden", mark, str(folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
            pass_fds=[lock],
            env=with_our_packages(os.environ),
        )

    def tick(self) -> None:
        """Starts what is to be started, notices what has died."""
        for rank, child in enumerate(self.children):
            if child.process is not None and child.process.poll() is not None:
                self._died(child, child.process)
            if child.process is None and time.monotonic() >= child.start_at and not self.stop.is_set():
                self._start(rank, child)

    def _start(self, rank: int, child: Child) -> None:
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
        assert self.warden.stdin is not None
        try:
            self.warden.stdin.write(f"{rank} {child.process.pid} {child.grace_s}\n".encode())
            self.warden.stdin.flush()
        except BrokenPipeError:
            log.warning("the warden has died: if this process is killed too, its children will be left behind")

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
        assert self.warden.stdin is not None
        self.warden.stdin.close()
        self.warden.wait()


def with_our_packages(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the folder of our packages first on PYTHONPATH, so that children find them anywhere."""
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *(path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path != root)]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}
