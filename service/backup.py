"""`db backup` and `db restore`: database and storage in one archive, made while the service runs.

The archive is a tar: the storage's files by their paths, the database, and last `manifest.json`, which names each with
its sha256; an archive without it was not finished. The files are copied before the database and those that came
meanwhile after it; files are durable before a row names them, so every file that the copied database names was there.
Where one was deleted in between, a newer copy of the database, which names it no more, takes the older one's place.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from sqlalchemy.engine import make_url

from service import clock
from service.db import copies
from service.db.copies import CopyError
from service.db.session import upgrade
from service.settings import Settings
from service.storage import CHUNK, Storage, is_path

FORMAT = "warpadam.backup/1"
DATABASE, MANIFEST = "database", "manifest.json"
TRIES = 5

Progress = Callable[[str], None]


class BackupError(Exception):
    """Says why, and what to do."""


@dataclass
class Manifest:
    """What an archive holds."""

    created_at: str
    kind: str
    """Of the database: sqlite or postgresql."""
    schema: str
    database: str = ""
    """Name of the member."""
    sha256: dict[str, str] = field(default_factory=dict)
    """Member → sha256 of its content."""
    damaged: list[str] = field(default_factory=list)
    """Files of the storage that were not what their names say, and were left out."""
    format: str = FORMAT


def backup(settings: Settings, target: Path, progress: Progress = lambda _line: None) -> Manifest:
    """Writes the archive `target`. Raises BackupError; a file that is not whole never has that name."""
    if target.exists():
        raise BackupError(f"{target} is there already: name another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        with _private(unfinished) as file, tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as scratch:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                manifest = _Writer(settings, archive, Path(scratch), progress).write()
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except CopyError as error:
        raise BackupError(str(error)) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return manifest


def _private(path: Path) -> IO[bytes]:
    """The archive holds everything that the service knows: nobody else may read it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


class _Writer:
    def __init__(self, settings: Settings, archive: tarfile.TarFile, scratch: Path, progress: Progress) -> None:
        self._settings, self._archive, self._scratch, self._progress = settings, archive, scratch, progress
        self._storage = Storage(settings.storage)
        self._sha256: dict[str, str] = {}
        self._damaged: set[str] = set()

    def write(self) -> Manifest:
        self._copy_files()
        for number in range(1, TRIES + 1):
            self._progress("database")
            copy = copies.copy(self._settings.database, self._scratch / f"{DATABASE}-{number}")
            self._copy_files()
            missing = {path for path in copy.files if is_path(path)} - self._sha256.keys() - self._damaged
            if not missing or number == TRIES:
                break
        gone = sorted(path for path in missing if not self._storage.exists(path))
        name = f"{DATABASE}-{number}"
        self._sha256[name] = self._add(name, copy.path.open("rb"), copy.path.stat().st_size)
        manifest = Manifest(
            clock.now().isoformat(), copy.kind, copy.schema, name, self._sha256, sorted(self._damaged | set(gone))
        )
        content = json.dumps(asdict(manifest), indent=1).encode()
        self._add(MANIFEST, io.BytesIO(content), len(content))
        return manifest

    def _copy_files(self) -> None:
        """Those that are not in the archive yet."""
        for path, size in self._storage.files():
            if path in self._sha256 or path in self._damaged:
                continue
            self._progress(f"files: {len(self._sha256) + 1}")
            try:
                file = self._storage.open(path)
            except FileNotFoundError:
                continue  # deleted since it was listed
            sha256 = self._add(path, file, size)
            if sha256 == path.rsplit("/", 1)[-1]:
                self._sha256[path] = sha256
            else:
                self._damaged.add(path)

    def _add(self, name: str, file: IO[bytes], size: int) -> str:
        """The sha256 of what was written."""
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = size, 0o600, clock.now().timestamp()
        with file:
            hashing = _Hashing(file)
            try:
                self._archive.addfile(member, hashing)
            except OSError as error:
                raise BackupError(f"{name} could not be copied: {error}") from error
        return hashing.hexdigest()


class _Hashing(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        return data

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def restore(settings: Settings, source: Path, progress: Progress = lambda _line: None) -> Manifest:
    """Database and files of the archive into an empty database and a storage, brought to the newest schema.

    Raises BackupError. The files come first, and the database as a whole: what is cut short may be run again.
    """
    try:
        with tarfile.open(source) as archive, tempfile.TemporaryDirectory(prefix="warpadam-restore-") as scratch:
            manifest = _read_manifest(archive, source)
            kind = make_url(settings.database).get_backend_name()
            if manifest.kind != kind:
                raise BackupError(f"{source} holds a {manifest.kind} database, and the settings name a {kind} one")
            copies.check_empty(settings.database)
            _restore_files(archive, manifest, Storage(settings.storage), progress)
            progress("database")
            copy = Path(scratch) / DATABASE
            _extract(archive, manifest, copy)
            copies.restore(settings.database, copy)
    except CopyError as error:
        raise BackupError(str(error)) from error
    except (tarfile.TarError, EOFError, FileNotFoundError) as error:
        raise BackupError(f"{source} is no whole backup: {error}") from error
    progress("schema")
    upgrade(settings.database)
    return manifest


def _read_manifest(archive: tarfile.TarFile, source: Path) -> Manifest:
    try:
        member = archive.extractfile(MANIFEST)
    except KeyError:
        raise BackupError(f"{source} is no whole backup: it has no {MANIFEST}") from None
    assert member is not None
    found = json.loads(member.read())
    if found.get("format") != FORMAT:
        raise BackupError(f"{source} has the format {found.get('format')}, and this program reads {FORMAT}")
    return Manifest(**found)


def _restore_files(archive: tarfile.TarFile, manifest: Manifest, storage: Storage, progress: Progress) -> None:
    paths = [path for path in manifest.sha256 if is_path(path)]
    for number, path in enumerate(paths, 1):
        progress(f"files: {number} of {len(paths)}")
        member = archive.getmember(path)
        if storage.exists(path) and storage.size(path) == member.size:
            continue
        stored = storage.put_stream(path.split("/", 1)[0], _chunks(archive, path), max_bytes=member.size)
        if stored.path != path:
            storage.delete(stored.path)
            raise BackupError(f"{path} in the archive is damaged: take another archive")


def _extract(archive: tarfile.TarFile, manifest: Manifest, target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for chunk in _chunks(archive, manifest.database):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != manifest.sha256[manifest.database]:
        raise BackupError("the database in the archive is damaged: take another archive")


def _chunks(archive: tarfile.TarFile, name: str) -> Iterator[bytes]:
    member = archive.extractfile(name)
    assert member is not None, "the archive holds files only"
    while chunk := member.read(CHUNK):
        yield chunk
