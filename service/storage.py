"""The storage: files by content, on whatever fsspec can reach.

Invariants: a file's path, `<kind>/<first two>/<sha256>`, says what is in it; it is written aside and moved, so a path
that exists is whole; on a local disk it is durable (fsync of file and folder) before its path is returned. Paths are
relative to the root, so a storage can move. Equal content is stored once per kind, and as old as when it was last put.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from service.errors import StorageFull, TooLarge
from service.listing import listed

CHUNK = 1 << 20

_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PATH = re.compile(r"[a-z][a-z0-9-]{0,31}/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Stored:
    """A file in the storage: its path there, what it holds, and how many bytes."""

    path: str
    sha256: str
    size: int


def is_path(path: str) -> bool:
    """Whether a file of a storage could have this path."""
    return _PATH.fullmatch(path) is not None


class CorruptFile(OSError):
    """A stored file is not what its name says."""


class Storage:
    """Files under one root, given as an fsspec URL or a local path."""

    def __init__(self, url: str) -> None:
        fs, root = url_to_fs(url)
        self.url = url
        self._fs = fs
        self._root = str(root).rstrip("/")
        self._local = isinstance(fs, LocalFileSystem)

    def put(self, kind: str, data: bytes) -> Stored:
        """Stores `data`. Raises StorageFull."""
        return self.put_stream(kind, [data], max_bytes=len(data))

    def put_file(self, kind: str, path: Path, max_bytes: int) -> Stored:
        """A file of this machine. Raises what `put_stream` does."""
        with path.open("rb") as file:
            return self.put_stream(kind, iter(lambda: file.read(CHUNK), b""), max_bytes)

    def put_stream(self, kind: str, chunks: Iterable[bytes], max_bytes: int) -> Stored:
        """Stores what `chunks` yield, hashed while it is written.

        Raises TooLarge beyond `max_bytes` and StorageFull; nothing is left behind then, nor where `chunks` raises.
        """
        if not _KIND.fullmatch(kind):
            raise ValueError(f"{kind!r} is not a kind of file: use lowercase letters, digits and hyphens")
        aside = f"{self._root}/aside/{uuid.uuid4().hex}"
        with full_is_told():
            self._fs.makedirs(f"{self._root}/aside", exist_ok=True)
            try:
                sha256, size = self._write(aside, chunks, max_bytes)
                stored = Stored(f"{kind}/{sha256[:2]}/{sha256}", sha256, size)
                self._move(aside, stored)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    self._fs.rm_file(aside)
                raise
        return stored

    def get(self, path: str) -> bytes:
        """The whole content, checked against the name. Raises FileNotFoundError, CorruptFile."""
        data = cast(bytes, self._fs.cat_file(self._full(path)))
        if hashlib.sha256(data).hexdigest() != path.rsplit("/", 1)[-1]:
            raise CorruptFile(f"{path} in the storage {self.url} is damaged: restore it from a backup")
        return data

    def open(self, path: str) -> BinaryIO:
        """The content as a seekable file. Raises FileNotFoundError."""
        return cast(BinaryIO, self._fs.open(self._full(path), "rb"))

    def local_path(self, path: str) -> Path | None:
        """Where the file is on this machine's disk; None where the storage is elsewhere."""
        return Path(self._full(path)) if self._local else None

    def exists(self, path: str) -> bool:
        return bool(self._fs.isfile(self._full(path)))

    def size(self, path: str) -> int:
        """Bytes of a stored file. Raises FileNotFoundError."""
        return int(self._fs.size(self._full(path)))

    def files(self) -> list[tuple[str, int]]:
        """Path and size of every file that is there now, in order of path."""
        self._fs.invalidate_cache()
        try:
            found: dict[str, dict[str, Any]] = self._fs.find(self._root, detail=True)
        except FileNotFoundError:
            return []
        beside = {name.removeprefix(f"{self._root}/"): int(info["size"]) for name, info in found.items()}
        return sorted((path, size) for path, size in beside.items() if is_path(path))

    def paths(self, kind: str) -> Iterator[str]:
        """All files of a kind."""
        for full in listed(self._fs, f"{self._root}/{kind}"):
            path = full.removeprefix(f"{self._root}/")
            if _PATH.fullmatch(path):
                yield path

    def is_older(self, path: str, before: datetime) -> bool:
        """Whether a file is there, and was last put before that time."""
        return self._is_older(self._full(path), before)

    def delete_older(self, path: str, before: datetime) -> bool:
        """Removes a file that was last put before that time; whether it did."""
        with self._alone():
            if not self.is_older(path, before):
                return False
            self.delete(path)
            return True

    def remove_aside(self, before: datetime) -> int:
        """Removes what was written aside before that time by processes that never moved it; how many files."""
        try:
            found = [str(path) for path in self._fs.ls(f"{self._root}/aside", detail=False)]
        except FileNotFoundError:
            return 0
        old = [path for path in found if self._is_older(path, before)]
        for path in old:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(path)
        return len(old)

    def _is_older(self, full: str, before: datetime) -> bool:
        try:
            put: datetime = self._fs.modified(full)
        except FileNotFoundError:
            return False
        return (put if put.tzinfo else put.replace(tzinfo=UTC)) < before

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """On a local disk: nobody else here decides about a file that is there already. Others have only the grace."""
        if not self._local:
            yield
            return
        folder = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def delete(self, path: str) -> None:
        """Removes a file; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._full(path))

    def _full(self, path: str) -> str:
        if not is_path(path):
            raise ValueError(f"{path!r} is not a path of the storage")
        return f"{self._root}/{path}"

    def _write(self, aside: str, chunks: Iterable[bytes], max_bytes: int) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        with self._open_new(aside) as file:
            for chunk in chunks:
                size += len(chunk)
                if size > max_bytes:
                    raise TooLarge(f"The file is larger than the {max_bytes} bytes that are accepted here.")
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest(), size

    @contextmanager
    def _open_new(self, path: str) -> Iterator[Any]:
        if not self._local:
            with self._fs.open(path, "wb") as file:
                yield file
            return
        with Path(path).open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def _move(self, aside: str, stored: Stored) -> None:
        target = self._full(stored.path)
        if self._local and self._put_again(target, stored.size):
            self._fs.rm_file(aside)
        elif self._local:
            folder = Path(target).parent
            folder.mkdir(parents=True, exist_ok=True)
            Path(aside).replace(target)
            _sync_folders(folder, Path(self._root))
        else:
            self._fs.makedirs(target.rsplit("/", 1)[0], exist_ok=True)
            self._fs.mv(aside, target)

    def _put_again(self, target: str, size: int) -> bool:
        """Whether the file is there; if so, it counts as put now, so that nobody removes it as old."""
        with self._alone():
            try:
                if Path(target).stat().st_size != size:
                    return False
                os.utime(target)
            except FileNotFoundError:
                return False
            return True


def _sync_folders(folder: Path, root: Path) -> None:
    """Makes the names durable, up to the root: each of the folders may be new."""
    for each in (folder, *folder.parents):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == root:
            return


@contextmanager
def full_is_told() -> Iterator[None]:
    """Turns a disk without room into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The storage has no room left: free some, or name another storage.") from error
        raise
