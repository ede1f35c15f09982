"""Folders for what an attempt needs only while it runs. One whose process was killed is removed by the next that looks.

A folder is in use as long as somebody holds the lock on the file in it, which the system lets go of with its process.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, _NEW = "wa-fit-", "wa-new-"
_LOCK = ".lock"


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
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid() and (held := _lock(folder)) is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)
                removed += 1
    return removed


def _lock(folder: Path) -> int | None:
    """None where another process holds it."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
