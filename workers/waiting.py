"""`python -m workers.runner --wait`: gets ready, then runs the attempts that lines on stdin name, one after the other.

On stdout it says `ready`, and `ended 0` after each attempt whose outcome is recorded. Everything else that it prints
goes to stderr, which is the log of the attempt at work. It ends where stdin ends, and after an attempt that may have
left this process other than it found it: one that was not recorded, failed, used a group of workers, or left much
memory behind.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import psutil

MOST_ATTEMPTS = 50
MOST_MEMORY = 2**30
"""Bytes that the process may have grown by, and still take another attempt."""


@dataclass(frozen=True)
class Assignment:
    """One line of stdin."""

    job: str
    attempt: int
    token: int
    log: str | None

    @classmethod
    def read(cls, line: str) -> "Assignment":
        named = json.loads(line)
        return cls(named["job"], named["attempt"], named["token"], named.get("log"))


@dataclass(frozen=True)
class Ran:
    """How an attempt ended: the exit code that says so, and whether this process is fit for another."""

    code: int
    reusable: bool


def wait_for_attempts(run: Callable[[Assignment], Ran]) -> int:
    """The exit code of this process."""
    dispatcher = _private_stdout()
    before = _memory()
    code = 0
    _say(dispatcher, "ready")
    for _ in range(MOST_ATTEMPTS):
        line = sys.stdin.readline()
        if not line.strip():
            return 0
        assignment = Assignment.read(line)
        if assignment.log is not None:
            _log_to(assignment.log)
        ran = run(assignment)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # idle, there is nothing to save
        code = ran.code
        fit = code == 0 and ran.reusable and _memory() - before < MOST_MEMORY
        if not (fit and _say(dispatcher, "ended 0")):
            break
    return code


def _private_stdout() -> int:
    """A descriptor of stdout for the dispatcher alone: from here on, prints go to stderr."""
    own = os.dup(1)
    os.dup2(2, 1)
    return own


def _log_to(path: str) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _say(dispatcher: int, word: str) -> bool:
    """False where nobody listens any more."""
    try:
        os.write(dispatcher, f"{word}\n".encode())
    except BrokenPipeError:
        return False
    return True


def _memory() -> int:
    return int(psutil.Process().memory_info().rss)
