"""Ties a process to whoever started it, and to a time; needs nothing, so it comes before anything is loaded."""

import os
import signal
import sys
import threading


def tie(seconds: float) -> None:
    """The process ends when its stdin does, whose other end whoever started it holds for as long as he lives; and after
    so many seconds, whatever it is doing: SIGALRM's default action ends it."""
    signal.setitimer(signal.ITIMER_REAL, seconds)

    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, name="stdin", daemon=True).start()
