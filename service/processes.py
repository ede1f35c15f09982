"""Process groups: each child leads one of its own, and is ended with everything it started.

Invariants: a group counts as gone only when no process of it is left but zombies; `end_groups` and `sweep` end only
processes that the caller names, by group or by the mark that the service put into their environment.
"""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MARK_VARIABLE = "WARPADAM_MARK"
"""In the environment of all that one `serve` starts, so that what escaped its group is found."""

_LOOK_S = 0.05
_KILLED_S = 5.0


def members(group: int) -> list[psutil.Process]:
    """The group's living processes; zombies have ended and only wait for their parent."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess, PermissionError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def signal_group(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def wait_gone(group: int, seconds: float) -> bool:
    """Whether the group is gone within `seconds`."""
    deadline = time.monotonic() + seconds
    while members(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def end_group(group: int, grace_s: float) -> bool:
    """SIGTERM, then after `grace_s` SIGKILL, to the whole group; whether it is gone."""
    return end_groups([(group, grace_s)])


def end_groups(groups: Sequence[tuple[int, float]]) -> bool:
    """Ends groups one after the other, each with its grace in seconds; whether all are gone."""
    gone = True
    for group, grace_s in groups:
        signal_group(group, signal.SIGTERM)
        if not wait_gone(group, grace_s):
            signal_group(group, signal.SIGKILL)
            gone = wait_gone(group, _KILLED_S) and gone
    return gone


def marked(mark: str) -> list[psutil.Process]:
    """Living processes that carry this mark in their environment, whatever group they are in."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK_VARIABLE) == mark:
                found.append(process)
    return found


def is_stopped(pid: int) -> bool:
    """Whether somebody stopped it (SIGSTOP, a debugger) and has not continued it."""
    try:
        return psutil.Process(pid).status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
    except psutil.Error:
        return False


def stopped(mark: str) -> Iterator[int]:
    """Processes that carry this mark and are stopped; there are few of those, so that a look costs little."""
    for pid in psutil.pids():
        if is_stopped(pid):
            with suppress(psutil.Error, OSError):
                if psutil.Process(pid).environ().get(MARK_VARIABLE) == mark:
                    yield pid


def sweep(mark: str) -> int:
    """Kills what still carries the mark; how many there were."""
    left = marked(mark)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=_KILLED_S)
    return len(left)


def remove_folders(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
