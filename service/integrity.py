"""`db check`: whether what the database holds fits together, and is what it says. It works while the service runs."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import inspect, select, text
from sqlalchemy.engine import make_url

from service import blobs
from service.db import blob_queries, file_queries
from service.db.file_queries import NamedFile
from service.db.limits import LONG_WORK
from service.db.models import Blob
from service.db.session import Database, head, version
from service.errors import ServiceError
from service.settings import Settings
from service.storage import CHUNK, Storage, is_path
from service.supervisor import with_our_packages

Progress = Callable[[str], None]
"""Told what is being looked at, from time to time."""


@dataclass
class Report:
    """What was looked at, and one line for each problem."""

    problems: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)


def check(settings: Settings, progress: Progress = lambda _line: None) -> Report:
    """References, blobs, files of the storage, and families' ledgers against their P."""
    path = make_url(settings.database).database
    if settings.database.startswith("sqlite") and path and not Path(path).exists():
        return Report([f"there is no database at {path}: name its folder with --data-dir, or make one with db upgrade"])
    database = Database(settings.database, LONG_WORK)
    try:
        if (problem := _schema(database)) is not None:
            return Report([problem])
        return _check(settings, database, progress)
    finally:
        database.dispose()


def _schema(database: Database) -> str | None:
    if not inspect(database.engine).has_table(Blob.__tablename__):
        return "the database has no tables of this service: make them with db upgrade"
    found, wanted = version(database), head()
    if found != wanted:
        return f"the database has schema {found}, this program wants {wanted}: run db upgrade, or the newer program"
    return None


def _check(settings: Settings, database: Database, progress: Progress) -> Report:
    report = Report()
    progress("references")
    report.problems += _check_references(database)
    report.checked["blobs"] = 0
    for problem in _check_blobs(database, progress, report):
        report.problems.append(problem)
    files = _Files(database, Storage(settings.storage), progress)
    report.problems += files.check()
    report.checked["files"] = files.checked
    progress("ledgers")
    _check_ledgers(settings, report)
    return report


def _check_references(database: Database) -> list[str]:
    with database.read() as session:
        found = list(file_queries.broken_references(session))
        if database.url.startswith("sqlite"):
            lines = [line for (line,) in session.execute(text("PRAGMA integrity_check"))]
            found += [f"database: {line}" for line in lines if line != "ok"]
    return found


def _check_blobs(database: Database, progress: Progress, report: Report) -> Iterator[str]:
    with database.read() as session:
        collected = set(blob_queries.let_go(session))
        every = session.scalars(select(Blob.sha256).order_by(Blob.sha256))
        names = [sha256 for sha256 in every if sha256 not in collected]
    for number, sha256 in enumerate(names, 1):
        progress(f"blobs: {number} of {len(names)}")
        report.checked["blobs"] += 1
        with database.read() as session:
            try:
                blobs.read(session, sha256)
            except ServiceError as error:
                if sha256 not in blob_queries.let_go(session):  # it may have been collected meanwhile
                    yield f"blobs: {error.detail}"


class _Files:
    """The storage's files that rows name: there, as long as the row says, and what their names say."""

    def __init__(self, database: Database, storage: Storage, progress: Progress) -> None:
        self._database, self._storage, self._progress = database, storage, progress
        self.checked = 0

    def check(self) -> list[str]:
        suspects = [(named, problem) for named in self._named() if (problem := self._problem(named)) is not None]
        # What the service deleted meanwhile, no row names any more.
        still = {named.path for named in self._named()} if suspects else set()
        return [f"files: {problem} ({named.owner})" for named, problem in suspects if named.path in still]

    def _named(self) -> list[NamedFile]:
        """Each path once; what is no path of the storage is another kind of path."""
        with self._database.read() as session:
            found = {each.path: each for each in file_queries.named_files(session) if is_path(each.path)}
        return [found[path] for path in sorted(found)]

    def _problem(self, named: NamedFile) -> str | None:
        self.checked += 1
        self._progress(f"files: {self.checked}")
        try:
            sha256, size = digest(self._storage, named.path)
        except FileNotFoundError:
            return f"{named.path} is not there"
        if sha256 != named.path.rsplit("/", 1)[-1]:
            return f"{named.path} is damaged"
        if named.size is not None and size != named.size:
            return f"{named.path} has {size} bytes, not {named.size}"
        return None


def digest(storage: Storage, path: str) -> tuple[str, int]:
    """sha256 and size of a stored file. Raises FileNotFoundError."""
    found, size = hashlib.sha256(), 0
    with storage.open(path) as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
            size += len(chunk)
    return found.hexdigest(), size


def _check_ledgers(settings: Settings, report: Report) -> None:
    """By a child, because the proof needs the learning rules, which this package may not import."""
    given = {"WARPADAM_DATABASE_URL": settings.database, "WARPADAM_STORAGE_URL": settings.storage}
    child = subprocess.run(
        [sys.executable, "-m", "workers.check"],
        env=with_our_packages({**os.environ, **given}),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        report.problems.append(f"ledgers: could not be checked: {last}")
        return
    said = json.loads(child.stdout)
    report.problems += said["problems"]
    report.checked["families"] = said["families"]
