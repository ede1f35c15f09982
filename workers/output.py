"""What this process prints, on its way to the database: its output's file, read as it grows.

Both launchers give a runner a file as its standard error, wherever it runs. What is read is bounded: of a flood that
the database cannot take so fast only the newest part is kept, and readers are told how much is missing.
"""

import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

MOST_AT_ONCE = 2**18
"""Bytes that one heartbeat carries."""
MOST_BEHIND = 2**20
"""Who is further behind goes on near the end."""


@dataclass(frozen=True)
class Printed:
    """Whole lines, from byte `start` of the output on."""

    start: int
    data: bytes


class Output:
    """A file that grows. `peek` and `advance` are called by one thread."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._place = file, 0

    @classmethod
    def of_this_process(cls, descriptor: int = 2) -> "Output | None":
        """None where it is no file, or one that cannot be opened for reading."""
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            return cls(open(_path(descriptor), "rb"))
        except OSError:
            return None

    def peek(self, *, last: bool = False) -> Printed | None:
        """What comes next, without its unfinished line unless this is the `last` look; None: nothing new."""
        size = os.fstat(self._file.fileno()).st_size
        if size - self._place > MOST_BEHIND or (last and size - self._place > MOST_AT_ONCE):
            self._file.seek(size - MOST_AT_ONCE)
            self._place = size - MOST_AT_ONCE + len(self._file.readline())
        self._file.seek(self._place)
        data = self._file.read(MOST_AT_ONCE)
        if not last and len(data) < MOST_AT_ONCE:
            data = data[: data.rfind(b"\n") + 1]
        return Printed(self._place, data) if data else None

    def advance(self, printed: Printed) -> None:
        """It is stored."""
        self._place = max(self._place, printed.start + len(printed.data))

    def close(self) -> None:
        self._file.close()


def _path(descriptor: int) -> str:
    linux = f"/proc/self/fd/{descriptor}"
    if os.path.exists(linux):
        return linux
    import fcntl

    found: bytes = fcntl.fcntl(descriptor, 50, bytes(1024))  # F_GETPATH of macOS, which Python names only there
    return os.fsdecode(found.rstrip(b"\0"))
