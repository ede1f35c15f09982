"""Where a dataset's bytes come from: one file, a folder of files, or what is built in.

A source only knows how to open its bytes and what to call them in messages; formats are the readers' business.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal

Opener = Callable[[], BinaryIO]

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
