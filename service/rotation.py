"""The service's own logs have a bound: a process renames the file that it writes, and goes on in a new one.

No line is lost on the way. Standard output and error lead to the renamed file until `dup2` leads them to the new one,
for all threads at once. Where they are no such file (a pipe, a terminal, a container's log) nothing is done.
"""

import logging
import os
import threading
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

KEPT = 3
"""So many older files stay beside the one that is written: `api.log.1` is the newest of them."""
LOOK_S = 5.0
_DESCRIPTORS = (1, 2)


def part_of(most_bytes: int, kept: int = KEPT) -> int:
    """Bytes of one file, where all of them together have `most_bytes`."""
    return most_bytes // (kept + 1)


def rotate(path: Path, kept: int = KEPT) -> None:
    """Renames `path` to `path.1`, that to `path.2`, and so on; the oldest goes."""
    for number in range(kept - 1, -1, -1):
        with suppress(FileNotFoundError):
            _older(path, number).replace(_older(path, number + 1))


def rotate_large(path: Path, most_bytes: int, kept: int = KEPT) -> None:
    """The same for a file that nobody writes now, if it is large enough."""
    with suppress(OSError):
        if path.stat().st_size >= part_of(most_bytes, kept):
            rotate(path, kept)


def _older(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}") if number else path


class OwnLog:
    """The file to which this process's output goes, if it does."""

    def __init__(self, path: Path, most_bytes: int, kept: int = KEPT) -> None:
        """`most_bytes`: of this file and of the older ones, all together."""
        self._path, self._part, self._kept = path, part_of(most_bytes, kept), kept

    def look(self) -> None:
        """Begins a new file where this one is full. Raises OSError where that cannot be made; then nothing changes."""
        ours = self._ours()
        if not ours or self._path.stat().st_size < self._part:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            rotate(self._path, self._kept)
            fresh.replace(self._path)
            for descriptor in ours:
                os.dup2(opened, descriptor)
        finally:
            os.close(opened)

    def _ours(self) -> list[int]:
        """Which of standard output and error go to the file."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return []
        return [each for each in _DESCRIPTORS if os.path.samestat(os.fstat(each), there)]


def keep_small(path: Path, most_bytes: int) -> None:
    """Looks again and again, in a thread beside, until this process ends."""
    own = OwnLog(path, most_bytes)

    def run() -> None:
        over = threading.Event()
        while not over.wait(LOOK_S):
            try:
                own.look()
            except OSError as error:
                log.warning("%s has no new file yet: %s", path.name, error)

    threading.Thread(target=run, name="rotation", daemon=True).start()
