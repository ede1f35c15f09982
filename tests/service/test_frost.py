"""A program that somebody stopped is ended, whatever the database does meanwhile."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from service.frost import LOOKS, Frost
from service.processes import MARK_VARIABLE, stopped


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        pass


def test_only_who_is_stopped_for_the_whole_time_is_named(sleeper: subprocess.Popen[bytes]) -> None:
    at = [0.0]
    frost = Frost(10.0, clock=lambda: at[0])
    assert frost.bitten([sleeper.pid]) == []
    stop(sleeper.pid)
    for at[0] in (2.0, 11.0, 11.0 + 5 / LOOKS):
        assert frost.bitten([sleeper.pid, os.getpid(), 2**22 + 1]) == []
    at[0] = 13.0
    assert frost.bitten([sleeper.pid, os.getpid()]) == [sleeper.pid]
    os.kill(sleeper.pid, signal.SIGCONT)
    while psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED:
        pass
    at[0] = 15.0
    assert frost.bitten([sleeper.pid]) == []


def test_only_stopped_processes_with_the_mark_are_found(sleeper: subprocess.Popen[bytes]) -> None:
    mark = f"frost-{os.getpid()}"
    marked = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={MARK_VARIABLE: mark})
    try:
        assert list(stopped(mark)) == []
        stop(marked.pid)
        stop(sleeper.pid)
        assert list(stopped(mark)) == [marked.pid]
    finally:
        marked.kill()
        marked.wait()
