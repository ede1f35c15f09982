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
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from service.processes import end_group, members, signal_group
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

    def adopt(self, launch: Launch, pid: int | None) -> bool:
        """Watches a program that an earlier dispatcher launched; False where it certainly runs no more."""
        ...

    def ended(self) -> list[Ended]:
        """Programs that have ended since the last call; each once."""
        ...

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        """Ends a program and all it started, after at most `grace_s`; unknown ones have ended already."""
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
    command: Sequence[str]
    child: subprocess.Popen[bytes] | None = None
    spare: Spare | None = None
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
        return is_runner(self.pid, self.command)


def is_runner(pid: int, command: Sequence[str]) -> bool:
    """Whether a living process with this pid leads a group and runs `command`; a pid alone may have been used again."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(pid) == pid:
            return process.cmdline()[1 : len(command)] == list(command[1:])
    return False


@dataclass
class ProcessLauncher:
    """Attempts are run by children of the dispatcher, each in a session of its own, so that they outlive its sudden
    death. With `warm` they are spare runners (workers/spares.py), which take attempt after attempt."""

    folder: Path
    """Where log files go: `<job>-<attempt>.log`."""
    command: Sequence[str] = RUNNER
    environment: Mapping[str, str] | None = None
    warm: bool = True
    name: str = "process"
    outlives: bool = False
    _programs: dict[str, _Program] = field(default_factory=dict, init=False)
    _spares: Spares = field(init=False)

    def __post_init__(self) -> None:
        self._spares = Spares(self.folder, self._open_waiting)

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
                {"job": launch.job_id, "attempt": launch.attempt, "token": launch.token, "log": str(log_file)}
            )
            program = _Program(spare.child.pid, self.command, spare.child, spare)
        else:
            arguments = ["--job", launch.job_id, "--attempt", str(launch.attempt), "--token", str(launch.token)]
            child = self._open([*self.command, *arguments], log_file, waiting=False)
            program = _Program(child.pid, self.command, child)
        self._programs[launch.submission_id] = program
        return program.pid

    def _open_waiting(self, log_file: Path) -> subprocess.Popen[bytes]:
        return self._open([*self.command, "--wait"], log_file, waiting=True)

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

    def adopt(self, launch: Launch, pid: int | None) -> bool:
        if pid is None or not is_runner(pid, self.command):
            return False
        self._programs[launch.submission_id] = _Program(pid, self.command)
        return True

    def ended(self) -> list[Ended]:
        found = []
        for submission_id, program in list(self._programs.items()):
            if program.runs():
                continue
            del self._programs[submission_id]
            if program.returned and program.spare is not None:
                self._spares.take_back(program.spare)
            else:
                end_group(program.pid, 0.0)  # what the runner left behind ends with it
                _hang_up(program)
            found.append(Ended(submission_id, program.code))
        return found

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        program = self._programs.pop(submission_id, None)
        if program is not None:
            _end(program, grace_s)

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
            _end(program, max(0.0, deadline - time.monotonic()))


def _end(program: _Program, grace_s: float) -> None:
    if members(program.pid) and not end_group(program.pid, grace_s):
        log.warning("process group %d could not be ended", program.pid)
    if program.child is not None:
        with suppress(subprocess.TimeoutExpired):
            program.code = program.child.wait(timeout=5)
    _hang_up(program)


def _hang_up(program: _Program) -> None:
    if program.spare is not None:
        program.spare.hang_up()
