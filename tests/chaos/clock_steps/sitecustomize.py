"""Loaded by every Python program whose PYTHONPATH has this folder: the time of day is as far off as a file says.

libfaketime would do it for all programs, but under it (0.9.10) Python's `time.sleep` fails.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

_LOOK_S = 0.2


class _Offset:
    """Seconds, read from the file now and then."""

    def __init__(self, path: str) -> None:
        self._path, self._seconds, self._read_at = path, 0.0, float("-inf")

    def __call__(self) -> float:
        if time.monotonic() - self._read_at > _LOOK_S:
            with suppress(OSError, ValueError), open(self._path) as file:
                self._seconds = float(file.read())
            self._read_at = time.monotonic()
        return self._seconds


def _set(offset: _Offset) -> None:
    seconds, nanoseconds = time.time, time.time_ns
    time.time = lambda: seconds() + offset()
    time.time_ns = lambda: nanoseconds() + round(offset() * 1e9)
    with suppress(ImportError):  # a program of Ray's that knows nothing of ours
        from service import clock

        now: Callable[[], datetime] = clock.now
        clock.now = lambda: now() + timedelta(seconds=offset())


if "CHAOS_CLOCK" in os.environ:
    _set(_Offset(os.environ["CHAOS_CLOCK"]))
