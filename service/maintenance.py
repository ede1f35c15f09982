"""What an operator does with the database besides serving it: check and backup. Both work while the service runs."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import inspect, select, text
from sqlalchemy.engine import make_url

from service import blobs
from service.db.models import Blob
from service.db.session import Database
from service.errors import ServiceError
from service.settings import Settings
from service.supervisor import with_our_packages


class CannotBackUpError(Exception):
    """Says why, and what to do."""


def check(settings: Settings) -> list[str]:
    """One line for each problem: pages and references of the database, stored files, families' ledgers."""
    path = make_url(settings.database).database
    if settings.database.startswith("sqlite") and path and not Path(path).exists():
        return [f"there is no database at {path}: name its folder with --data-dir, or make one with db upgrade"]
    database = Database(settings.database)
    try:
        if not inspect(database.engine).has_table(Blob.__tablename__):
            return ["the database has no tables of this service: make them with db upgrade"]
        return [*_check_sqlite(database), *_check_blobs(database), *_check_ledgers(settings)]
    finally:
        database.dispose()


def _check_sqlite(database: Database) -> Iterator[str]:
    """PostgreSQL enforces its references itself; SQLite only while every writer asks it to."""
    if not database.url.startswith("sqlite"):
        return
    with database.read() as session:
        for (line,) in session.execute(text("PRAGMA integrity_check")):
            if line != "ok":
                yield f"database: {line}"
        for table, row, parent, _ in session.execute(text("PRAGMA foreign_key_check")):
            yield f"{table}: row {row} names something in {parent} that is not there"


def _check_blobs(database: Database) -> Iterator[str]:
    with database.read() as session:
        names = session.scalars(select(Blob.sha256).order_by(Blob.sha256)).all()
    for sha256 in names:
        with database.read() as session:
            try:
                blobs.read(session, sha256)
            except ServiceError as error:
                yield f"blobs: {error.detail}"


def _check_ledgers(settings: Settings) -> list[str]:
    """By a child, because the proof needs the learning rules, which this package may not import."""
    child = subprocess.run(
        [sys.executable, "-m", "workers.check"],
        env=with_our_packages(
            {
                **os.environ,
                "WARPADAM_DATABASE_URL": settings.database,
                "WARPADAM_STORAGE_URL": settings.storage,
            }
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        return [f"ledgers: could not be checked: {last}"]
    return child.stdout.splitlines()


def backup(settings: Settings, target: Path) -> None:
    """A consistent copy of the SQLite database at `target`, made while it is used. Raises CannotBackUpError."""
    if not settings.database.startswith("sqlite"):
        raise CannotBackUpError("this database is PostgreSQL: copy it with pg_dump --format=custom")
    source = Path(make_url(settings.database).database or "")
    if not source.is_file():
        raise CannotBackUpError(f"there is no database at {source}: name its folder with --data-dir")
    if target.exists():
        raise CannotBackUpError(f"{target} is there already: name another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(unfinished)) as copy:
        live.backup(copy)
    unfinished.replace(target)
