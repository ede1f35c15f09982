"""Copies on this machine's disk of files that the database holds, so that a P is read from there only once.

Invariants: a file's name is the sha256 of what is in it, which was compared before it got that name; so nothing here is
ever out of date, and everything may be removed at any time. Whether somebody may read a file was decided before.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

_ASIDE = "aside-"


@dataclass(frozen=True)
class KeptFiles:
    """At most `most` bytes in `folder`, those that were wanted last; 0: none."""

    folder: Path
    most: int

    def find(self, sha256: str, size: int) -> Path | None:
        """Where the file is, if it is here and whole; it counts as wanted now."""
        path = self.folder / sha256
        try:
            if path.stat().st_size != size:
                return None
            os.utime(path)
        except OSError:
            return None
        return path

    def keeping(self, sha256: str, size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """The same pieces; when all were taken the file is here, unless there is no room."""
        if not 0 < size <= self.most:
            yield from pieces
            return
        file = self._open_aside()
        digest = hashlib.sha256()
        try:
            for piece in pieces:
                if file is not None and not _written(file, piece):
                    _drop(file)
                    file = None
                digest.update(piece)
                yield piece
            if file is not None and digest.hexdigest() == sha256:
                self._make_room(size)
                file.close()
                with contextlib.suppress(OSError):
                    Path(file.name).replace(self.folder / sha256)
        finally:
            if file is not None:
                _drop(file)

    def _open_aside(self) -> BinaryIO | None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=_ASIDE, dir=self.folder)
        except OSError as error:
            log.warning("files of the database are not kept in %s: %s", self.folder, error)
            return None
        os.close(handle)
        return Path(name).open("wb")

    def _make_room(self, size: int) -> None:
        """Removes what was wanted longest ago, and what a process left that ended while it wrote."""
        with contextlib.suppress(OSError):
            found = sorted((each.stat().st_mtime, each.stat().st_size, each) for each in self.folder.iterdir())
            whole = [each for each in found if not each[2].name.startswith(_ASIDE)]
            total = sum(each[1] for each in whole) + size
            for _, freed, path in whole:
                if total <= self.most:
                    return
                path.unlink(missing_ok=True)
                total -= freed


def _written(file: BinaryIO, piece: bytes) -> bool:
    try:
        file.write(piece)
    except OSError:
        return False
    return True


def _drop(file: BinaryIO) -> None:
    """Closes and removes; one that got its name already is not there any more."""
    with contextlib.suppress(OSError):
        file.close()
    Path(file.name).unlink(missing_ok=True)
