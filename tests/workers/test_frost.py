"""A program that somebody stopped is ended, whatever the database does meanwhile."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from workers.frost import LOOK_EVERY_S, Frost
from workers.launchers import Ended, Launch, ProcessLauncher


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
    for at[0] in (2.0, 11.0, 11.0 + LOOK_EVERY_S / 2):
        assert frost.bitten([sleeper.pid, os.getpid(), 2**22 + 1]) == []
    at[0] = 13.0
    assert frost.bitten([sleeper.pid, os.getpid()]) == [sleeper.pid]
    os.kill(sleeper.pid, signal.SIGCONT)
    while psutil.Process(sleeper.pid).status() == psutil.STATUS_STOPPED:
        pass
    at[0] = 15.0
    assert frost.bitten([sleeper.pid]) == []


def test_a_launcher_ends_a_program_that_was_stopped(tmp_path: Path) -> None:
    launcher = ProcessLauncher(tmp_path, (sys.executable, "-c", "import time; time.sleep(60)"), warm=False, frozen_s=0)
    pid = launcher.launch(Launch("job", 1, 7))
    assert pid is not None
    stop(pid)
    deadline = time.monotonic() + 30
    while not (ended := launcher.ended()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ended == [Ended("job-1", -signal.SIGKILL)]
