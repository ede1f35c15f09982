"""Where a dataset's bytes come from: one file, a folder of files, or what is built in.

A source only knows how to open its bytes and what to call them in messages; formats are the readers' business.
"""

import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

Opener = Callable[[], BinaryIO]
Progress = Callable[[int], None]
"""Told how many bytes were read since the last time; may raise, to end the reading."""

UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    UnicodeDecodeError,
    IndexError,  # a member without a name
    RuntimeError,  # encrypted, or a compression that is not known
)
"""What reading a damaged archive, or something that is none, raises."""


@dataclass(frozen=True)
class FileSource:
    """One seekable file; `name` is what the user calls it, and may tell the format."""

    name: str
    size: int
    open: Opener


@dataclass(frozen=True)
class Member:
    """A file of a folder; `path` is relative to it, with forward slashes."""

    path: str
    size: int
    open: Opener


@dataclass(frozen=True)
class FolderSource:
    """A folder of images, its members sorted by path."""

    name: str
    members: Sequence[Member]

    @property
    def size(self) -> int:
        return sum(member.size for member in self.members)


@dataclass(frozen=True)
class BuiltinSource:
    name: Literal["digits", "python-text"]
    part: str | None = None


Source = FileSource | FolderSource | BuiltinSource


def watched(source: FileSource, progress: Progress) -> FileSource:
    """The same source, whose files tell what is read of them."""
    return FileSource(source.name, source.size, lambda: cast(BinaryIO, _Watched(source.open(), progress)))


class _Watched(io.RawIOBase):
    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress = file, progress

    def read(self, size: int | None = -1) -> bytes:
        found = self._file.read(-1 if size is None else size)
        self._progress(len(found))
        return found

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
