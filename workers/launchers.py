"""Launchers: how one attempt's runner program is started, watched and ended.

One port, `Launcher`, and two implementations: a child process here, or a job of Ray's Jobs API (workers/ray_jobs.py).
The database is the truth about an attempt; a launcher only knows whether its program still runs. Launching the same
submission twice starts it once.
"""

import json
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
from typing import IO, Protocol

import psutil

from service.processes import end_group, members, signal_group
from workers.policies import backoff

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
    """A runner in its own process group: a child, or an adopted process that an earlier dispatcher started."""

    pid: int
    child: subprocess.Popen[bytes] | None
    command: Sequence[str]
    code: int | None = None

    def runs(self) -> bool:
        if self.child is not None:
            self.code = self.child.poll()
            return self.code is None
        return is_runner(self.pid, self.command)


@dataclass
class _Warm:
    """A runner that waits for its job on stdin. Its output is a file, which is renamed when it gets a job."""

    child: subprocess.Popen[bytes]
    stdin: IO[bytes]
    log_file: Path


def is_runner(pid: int, command: Sequence[str]) -> bool:
    """Whether a living process with this pid leads a group and runs `command`; a pid alone may have been used again."""
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE and os.getpgid(pid) == pid:
            return process.cmdline()[1 : len(command)] == list(command[1:])
    return False


@dataclass
class ProcessLauncher:
    """Attempts are children of the dispatcher, each in a session of its own, so that they outlive its sudden death."""

    folder: Path
    """Where log files go: `<job>-<attempt>.log`."""
    command: Sequence[str] = RUNNER
    environment: Mapping[str, str] | None = None
    warm: bool = True
    name: str = "process"
    outlives: bool = False
    _programs: dict[str, _Program] = field(default_factory=dict, init=False)
    _warm: _Warm | None = field(default=None, init=False)
    _warm_number: int = field(default=0, init=False)
    _warm_failures: int = field(default=0, init=False)
    _warm_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob("warm-*.log"):
            left.unlink()

    def launch(self, launch: Launch) -> int | None:
        known = self._programs.get(launch.submission_id)
        if known is not None:
            return known.pid
        child = self._hand_over(launch) or self._start(launch)
        self._programs[launch.submission_id] = _Program(child.pid, child, self.command)
        return child.pid

    def _start(self, launch: Launch) -> subprocess.Popen[bytes]:
        arguments = ["--job", launch.job_id, "--attempt", str(launch.attempt), "--token", str(launch.token)]
        return self._open([*self.command, *arguments], self._log_file(launch), subprocess.DEVNULL)

    def _open(self, command: Sequence[str], log_file: Path, stdin: int) -> subprocess.Popen[bytes]:
        environment = dict(os.environ if self.environment is None else self.environment)
        try:
            with log_file.open("ab") as output:
                return subprocess.Popen(
                    command,
                    stdin=stdin,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env=environment,
                )
        except OSError as error:
            raise LaunchError(f"cannot start {command[0]}: {error.strerror}") from error

    def _log_file(self, launch: Launch) -> Path:
        return self.folder / f"{launch.submission_id}.log"

    def _hand_over(self, launch: Launch) -> subprocess.Popen[bytes] | None:
        """Gives the job to the warm runner, ready or still importing; None where there is none alive."""
        warm, self._warm = self._warm, None
        if warm is None:
            return None
        line = json.dumps({"job": launch.job_id, "attempt": launch.attempt, "token": launch.token})
        try:
            if warm.child.poll() is not None:
                raise BrokenPipeError
            warm.log_file.replace(self._log_file(launch))
            warm.stdin.write(line.encode() + b"\n")
            warm.stdin.close()
        except OSError:
            with suppress(OSError):
                warm.stdin.close()
            log.warning("the warm runner had died: starting one for %s", launch.submission_id)
            _end_child(warm.child, 0.0)
            return None
        self._warm_failures = 0
        return warm.child

    def adopt(self, launch: Launch, pid: int | None) -> bool:
        if pid is None or not is_runner(pid, self.command):
            return False
        self._programs[launch.submission_id] = _Program(pid, None, self.command)
        return True

    def ended(self) -> list[Ended]:
        found = []
        for submission_id, program in list(self._programs.items()):
            if not program.runs():
                del self._programs[submission_id]
                end_group(program.pid, 0.0)  # what the runner left behind ends with it
                found.append(Ended(submission_id, program.code))
        return found

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        program = self._programs.pop(submission_id, None)
        if program is not None:
            _end(program, grace_s)

    def tend(self, *, connected: bool, may_start: bool) -> None:
        if self._warm is not None and (self._warm.child.poll() is not None or not connected):
            self._drop_warm()
        if connected and may_start and self.warm and self._warm is None and time.monotonic() >= self._warm_at:
            self._start_warm()

    @property
    def warm_pid(self) -> int | None:
        return None if self._warm is None else self._warm.child.pid

    def _start_warm(self) -> None:
        self._warm_number += 1
        log_file = self.folder / f"warm-{os.getpid()}-{self._warm_number}.log"
        child = self._open([*self.command, "--wait"], log_file, subprocess.PIPE)
        assert child.stdin is not None
        self._warm = _Warm(child, child.stdin, log_file)

    def _drop_warm(self) -> None:
        warm, self._warm = self._warm, None
        if warm is None:
            return
        with suppress(OSError):
            warm.stdin.close()
        code = warm.child.poll()
        if code is not None:
            self._warm_failures += 1
            delay = backoff(self._warm_failures, 1.0, 60.0)
            self._warm_at = time.monotonic() + delay
            log.warning("the warm runner ended with code %s (%s); next in %.0f s", code, warm.log_file, delay)
        else:
            warm.log_file.unlink(missing_ok=True)
        _end_child(warm.child, 0.0)

    def close(self, *, grace_s: float) -> None:
        self._drop_warm()
        for program in self._programs.values():
            signal_group(program.pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        for program in self._programs.values():
            _end(program, max(0.0, deadline - time.monotonic()))


def _end(program: _Program, grace_s: float) -> None:
    if program.child is not None:
        _end_child(program.child, grace_s)
        program.code = program.child.returncode
    elif members(program.pid) and not end_group(program.pid, grace_s):
        log.warning("process group %d could not be ended", program.pid)


def _end_child(child: subprocess.Popen[bytes], grace_s: float) -> None:
    if not end_group(child.pid, grace_s):
        log.warning("process group %d could not be ended", child.pid)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)
