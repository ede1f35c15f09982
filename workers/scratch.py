"""Folders for what an attempt needs only while it runs. One whose process was killed is removed by the next that looks.

A folder is in use as long as somebody holds the lock on the file in it, which the system lets go of with its process.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, _NEW = "wa-fit-", "wa-new-"
_LOCK = ".lock"
_UNLOCKED_S = 60.0


@contextmanager
def scratch() -> Iterator[Path]:
    """A private folder, gone afterwards."""
    sweep()
    new = Path(tempfile.mkdtemp(prefix=_NEW))
    held = _lock(new)
    folder = new.rename(new.with_name(new.name.replace(_NEW, PREFIX, 1)))  # seen by others only now that it is locked
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def sweep() -> int:
    """Removes the folders of this user's processes that are gone; how many there were."""
    removed = 0
    for folder in _folders():
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and (held := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)
                removed += 1
    return removed


def _folders() -> Iterator[Path]:
    """A new one is locked at once, unless whoever made it died in between."""
    root = Path(tempfile.gettempdir())
    yield from root.glob(f"{PREFIX}*")
    for folder in root.glob(f"{_NEW}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _UNLOCKED_S:
                yield folder


def _lock(folder: Path) -> int | None:
    """None where another process holds it."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
