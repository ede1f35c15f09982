"""Launchers: how one attempt's runner program is started, watched and ended.

One port, `Launcher`, and two implementations: a child process here, or a job of Ray's Jobs API (workers/ray_jobs.py).
The database is the truth about an attempt; a launcher only knows whether its program still runs. Launching the same
submission twice starts it once.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from service.frost import Frost
from service.processes import end_group, members, signal_group
from workers import scratch
from workers.registry import Known, Registry
from workers.spares import Spare, Spares

log = logging.getLogger(__name__)

RUNNER = (sys.executable, "-m", "workers.runner")


@dataclass(frozen=True, slots=True)
class Launch:
    """What a runner program is told: which attempt it is, and the token that fences its writes."""

    job_id: str
    attempt: int
    token: int

    @property
    def submission_id(self) -> str:
        return f"{self.job_id}-{self.attempt}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that runs no more. `code` as subprocess gives it, None where nobody knows."""

    submission_id: str
    code: int | None
    certain: bool = True
    """Where it is hearsay, the lease decides whether the attempt is lost."""


Adoption = Literal["watched", "gone", "unknown"]
"""What became of an earlier dispatcher's program: `unknown` is another's, or nobody can say, and the lease decides."""


class LaunchError(Exception):
    """The program could not be started; the attempt may be tried again."""


class Launcher(Protocol):
    name: str
    """As it stands in `attempts.launcher`."""
    outlives: bool
    """Whether programs go on when the dispatcher is told to end."""

    def launch(self, launch: Launch) -> int | None:
        """Starts the program; its pid where it has one on this machine. Raises LaunchError."""
        ...

    def adopt(self, launch: Launch) -> Adoption:
        """Watches a program that an earlier dispatcher launched, if it is to be found here."""
        ...

    def ended(self) -> list[Ended]:
        """Programs that have ended since the last call; each once."""
        ...

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        """Ends a program and all it started, after at most `grace_s`; unknown ones have ended already."""
        ...

    def sweep(self, living: Set[str]) -> None:
        """Ends programs that nobody watches and that are none of these, the submissions that own a job."""
        ...

    def tend(self, *, connected: bool, may_start: bool) -> None:
        """Called at each look of the dispatcher: keeps a warm runner while Ray is there; starts one if it may."""
        ...

    def close(self, *, grace_s: float) -> None:
        """Ends what does not outlive the dispatcher."""
        ...


@dataclass
class _Program:
    """A runner in its own process group: a child, a spare at work, or a process that an earlier dispatcher started."""

    pid: int
    child: subprocess.Popen[bytes] | None = None
    spare: Spare | None = None
    known: Known | None = None
    """Of one that is no child."""
    code: int | None = None
    returned: bool = False
    """The attempt has ended, and the spare can take another."""

    def runs(self) -> bool:
        if self.spare is not None and "ended 0" in self.spare.listen():
            self.code, self.returned = 0, True
            return False
        if self.child is not None:
            self.code = self.child.poll()
            return self.code is None
        return self.known is not None and self.known.lives()


@dataclass
class ProcessLauncher:
    """Attempts are run by children of the dispatcher, each in a session of its own, so that they outlive its sudden
    death. With `warm` they are spare runners (workers/spares.py), which take attempt after attempt."""

    folder: Path
    """Where log files go: `<job>-<attempt>.log`."""
    command: Sequence[str] = RUNNER
    environment: Mapping[str, str] | None = None
    warm: bool = True
    frozen_s: float = 30.0
    """A program that somebody stopped is ended after so long."""
    name: str = "process"
    outlives: bool = False
    _programs: dict[str, _Program] = field(default_factory=dict, init=False)
    _spares: Spares = field(init=False)
    _registry: Registry = field(init=False)
    _frost: Frost = field(init=False)

    def __post_init__(self) -> None:
        self._registry = Registry(self.folder / "running")
        self._spares = Spares(self.folder, self._open_waiting)
        self._frost = Frost(self.frozen_s)

    @property
    def idle_pids(self) -> list[int]:
        return [spare.child.pid for spare in self._spares.idle]

    def launch(self, launch: Launch) -> int | None:
        known = self._programs.get(launch.submission_id)
        if known is not None:
            return known.pid
        log_file = self.folder / f"{launch.submission_id}.log"
        if self.warm:
            spare = self._spares.give(
                {"job": launch.job_id, "attempt": launch.attempt, "token": launch.token, "log": str(log_file)},
                lambda pid: self._registry.note(pid, launch.submission_id),
            )
            program = _Program(spare.child.pid, spare.child, spare)
        else:
            arguments = ["--job", launch.job_id, "--attempt", str(launch.attempt), "--token", str(launch.token)]
            child = self._open([*self.command, *arguments], log_file, waiting=False)
            self._registry.note(child.pid, launch.submission_id)
            program = _Program(child.pid, child)
        self._programs[launch.submission_id] = program
        return program.pid

    def _open_waiting(self, log_file: Path) -> subprocess.Popen[bytes]:
        child = self._open([*self.command, "--wait"], log_file, waiting=True)
        self._registry.note(child.pid, None)
        return child

    def _open(self, command: Sequence[str], log_file: Path, *, waiting: bool) -> subprocess.Popen[bytes]:
        environment = dict(os.environ if self.environment is None else self.environment)
        try:
            with log_file.open("ab") as output:
                return subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if waiting else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if waiting else output,
                    stderr=output,
                    start_new_session=True,
                    env=environment,
                )
        except OSError as error:
            raise LaunchError(f"cannot start {command[0]}: {error.strerror}") from error

    def adopt(self, launch: Launch) -> Adoption:
        entry = self._registry.of_submission(launch.submission_id)
        if entry is None or not (entry.is_orphan or entry.owner.pid == os.getpid()):
            return "unknown"
        if not entry.program.lives():
            self._registry.end(entry)
            return "gone"
        self._registry.note(entry.program.pid, launch.submission_id)
        self._programs[launch.submission_id] = _Program(entry.program.pid, known=entry.program)
        return "watched"

    def ended(self) -> list[Ended]:
        for pid in self._frost.bitten([program.pid for program in self._programs.values()]):
            log.warning("process %d was stopped and not continued for %g s: it is ended", pid, self.frozen_s)
            signal_group(pid, signal.SIGKILL)
        found = []
        for submission_id, program in list(self._programs.items()):
            if program.runs():
                continue
            del self._programs[submission_id]
            if program.returned and program.spare is not None:
                self._registry.note(program.pid, None)
                self._spares.take_back(program.spare)
            else:
                self._finish(program, 0.0)  # what the runner left behind ends with it
            found.append(Ended(submission_id, program.code))
        return found

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        program = self._programs.pop(submission_id, None)
        if program is not None:
            self._finish(program, grace_s)

    def _finish(self, program: _Program, grace_s: float) -> None:
        """Ends a program with all it started. One that cannot be ended now is found by the next `sweep`."""
        if _end(program, grace_s):
            self._registry.forget(program.pid)
        scratch.sweep()

    def sweep(self, living: Set[str]) -> None:
        watched = {program.pid for program in self._programs.values()} | set(self.idle_pids)
        for entry in self._registry.entries():
            unwatched = entry.owner.pid == os.getpid() and entry.program.pid not in watched
            if entry.submission not in living and (unwatched or entry.is_orphan):
                if entry.program.lives():
                    log.warning("ending process %d (%s), which runs for nobody", entry.program.pid, entry.submission)
                self._registry.end(entry)

    def tend(self, *, connected: bool, may_start: bool) -> None:
        if not connected:
            for program in self._programs.values():
                if program.spare is not None:
                    program.spare.stale = True
        if self.warm:
            self._spares.tend(connected=connected, may_start=may_start)

    def close(self, *, grace_s: float) -> None:
        self._spares.close()
        for program in self._programs.values():
            signal_group(program.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for program in self._programs.values():
            self._finish(program, max(0.0, deadline - time.monotonic()))
        self.sweep(frozenset())


def _end(program: _Program, grace_s: float) -> bool:
    """Whether nothing of it is left."""
    gone = not members(program.pid) or end_group(program.pid, grace_s)
    if not gone:
        log.warning("process group %d could not be ended", program.pid)
    if program.child is not None:
        with suppress(subprocess.TimeoutExpired):
            program.code = program.child.wait(timeout=5)
    _hang_up(program)
    return gone


def _hang_up(program: _Program) -> None:
    if program.spare is not None:
        program.spare.hang_up()
