"""Spare runners: imported, connected, and waiting for the next attempt.

A spare is told an attempt by a JSON line on its stdin, and says on its stdout when it is ready, and when an attempt has
ended and it can take another. Whatever else happens, it ends, and its exit code says how. An idle one ends
with its dispatcher, whose end of the pipe closes.
"""

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from service.processes import end_group, members
from workers.backoff import backoff

log = logging.getLogger(__name__)

IDLE_S = 30.0
"""A second idle spare is kept this long: a burst of jobs comes back to it, a quiet service does not pay for it."""

Start = Callable[[Path], subprocess.Popen[bytes]]
"""Starts a runner that waits, with pipes to its stdin and stdout, its stderr in the given file."""


@dataclass(eq=False)
class Spare:
    """One such runner, idle or at work."""

    child: subprocess.Popen[bytes]
    stdin: IO[bytes]
    log_file: Path | None
    """What it says before its first attempt; an attempt has a log of its own."""
    idle_since: float
    ready: bool = False
    stale: bool = False
    """It knew a Ray that is gone: it ends after what it does now."""
    _said: bytes = b""

    def listen(self) -> list[str]:
        """The lines that it has said since the last call."""
        assert self.child.stdout is not None
        with suppress(BlockingIOError):
            while piece := os.read(self.child.stdout.fileno(), 4096):
                self._said += piece
        *lines, self._said = self._said.split(b"\n")
        words = [line.decode() for line in lines]
        self.ready = self.ready or "ready" in words
        return words

    def tell(self, attempt: dict[str, str | int]) -> bool:
        """Gives it an attempt; False where it is dead."""
        if self.child.poll() is not None:
            return False
        try:
            self.stdin.write(json.dumps(attempt).encode() + b"\n")
            self.stdin.flush()
        except OSError:
            return False
        self._forget_log()
        return True

    def end(self) -> None:
        """Ends it now, idle as it is."""
        self.hang_up()
        _end_child(self.child)
        self._forget_log()

    def hang_up(self) -> None:
        """Closes the pipes: it ends by itself once it has nothing to do."""
        for pipe in (self.stdin, self.child.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _forget_log(self) -> None:
        if self.log_file is not None:
            self.log_file.unlink(missing_ok=True)
            self.log_file = None


@dataclass
class Spares:
    """The idle ones. One is kept ready; those that come back from an attempt are kept for a while beside it."""

    folder: Path
    start: Start
    _idle: list[Spare] = field(default_factory=list, init=False)
    _number: int = field(default=0, init=False)
    _failures: int = field(default=0, init=False)
    _next_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob("warm-*.log"):
            left.unlink()

    @property
    def idle(self) -> list[Spare]:
        return list(self._idle)

    def give(self, attempt: dict[str, str | int], note: Callable[[int], None]) -> Spare:
        """A spare that has this attempt now: a ready one before one that still imports, else a new one.

        `note` gets its pid before it is told. Raises LaunchError where none can be started.
        """
        for spare in self._idle:
            spare.listen()
        for spare in sorted(self._idle, key=lambda spare: not spare.ready):
            self._idle.remove(spare)
            note(spare.child.pid)
            if spare.tell(attempt):
                self._failures = 0
                return spare
            log.warning("a spare runner had died: taking another for %s", attempt["job"])
            spare.end()
        spare = self._new()
        note(spare.child.pid)
        spare.tell(attempt)
        return spare

    def take_back(self, spare: Spare) -> None:
        """One whose attempt has ended, and that says that it can go on."""
        if spare.stale or len(members(spare.child.pid)) != 1:  # what an attempt left behind ends with its runner
            spare.end()
            return
        spare.idle_since = time.monotonic()
        self._idle.append(spare)

    def tend(self, *, connected: bool, may_start: bool) -> None:
        """Drops what is dead, out of date or too many; starts one where none is idle."""
        for spare in self.idle:
            spare.listen()
            if spare.child.poll() is not None:
                self._note_death(spare)
            elif not connected:
                self._drop(spare)
        for spare in self._idle[:-1]:
            if time.monotonic() - spare.idle_since > IDLE_S:
                self._drop(spare)
        if connected and may_start and not self._idle and time.monotonic() >= self._next_at:
            self._idle.append(self._new())

    def close(self) -> None:
        for spare in self.idle:
            self._drop(spare)

    def _new(self) -> Spare:
        self._number += 1
        log_file = self.folder / f"warm-{os.getpid()}-{self._number}.log"
        child = self.start(log_file)
        assert child.stdin is not None
        assert child.stdout is not None
        os.set_blocking(child.stdout.fileno(), False)
        return Spare(child, child.stdin, log_file, time.monotonic())

    def _drop(self, spare: Spare) -> None:
        self._idle.remove(spare)
        spare.end()

    def _note_death(self, spare: Spare) -> None:
        """It ended unasked: its log is kept, and the next one waits a while."""
        self._idle.remove(spare)
        self._failures += 1
        delay = backoff(self._failures, 1.0, 60.0)
        self._next_at = time.monotonic() + delay
        code, log_file = spare.child.returncode, spare.log_file
        log.warning("a spare runner ended with code %s (%s); next in %.0f s", code, log_file or "no log", delay)
        spare.hang_up()
        _end_child(spare.child)


def _end_child(child: subprocess.Popen[bytes], grace_s: float = 0.0) -> None:
    if not end_group(child.pid, grace_s):
        log.warning("process group %d could not be ended", child.pid)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)
