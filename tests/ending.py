"""Ends programs that a test started, with all that they started, and tells what did not end by itself."""

import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

import psutil


def end(processes: Sequence[subprocess.Popen[bytes]], grace_s: float) -> list[str]:
    """SIGTERM to each in turn; SIGKILL to what is left of them and of their families after `grace_s` for either.

    Gives the command lines of what a program left behind, which is ended too.
    """
    family: list[psutil.Process] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            family += psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, alive = psutil.wait_procs(family, timeout=grace_s)
    left = [" ".join(one.cmdline())[:150] for one in alive if one.is_running()]
    for one in alive:
        one.kill()
    return left
