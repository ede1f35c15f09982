"""A consistent copy of a database in use, and back: SQLite by its own API, PostgreSQL by pg_dump and pg_restore."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session

from service.db import file_queries
from service.db.limits import LONG_WORK
from service.db.session import Database, version


class CopyError(Exception):
    """Says why, and what to do."""


@dataclass(frozen=True)
class Copy:
    """A copy in a file, and what it was a copy of."""

    path: Path
    kind: str
    schema: str
    files: frozenset[str]
    """Paths that its rows name."""


def copy(url: str, target: Path) -> Copy:
    """Copies the database as it is at one moment. Raises CopyError."""
    return _copy_sqlite(url, target) if url.startswith("sqlite") else _copy_postgresql(url, target)


def restore(url: str, source: Path) -> None:
    """Puts a copy where no database is yet. Raises CopyError."""
    check_empty(url)
    if url.startswith("sqlite"):
        _restore_sqlite(_file_of(url), source)
    else:
        _run("pg_restore", url, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", str(source))


def check_empty(url: str) -> None:
    """Raises CopyError where there is something that a restore would write over."""
    if url.startswith("sqlite"):
        if (path := _file_of(url)).exists():
            raise CopyError(f"there is a database at {path} already: name another --data-dir, or move it away")
        return
    database = Database(url, LONG_WORK)
    try:
        if inspect(database.engine).get_table_names():
            raise CopyError("the database is not empty: name one that is")
    finally:
        database.dispose()


def _copy_sqlite(url: str, target: Path) -> Copy:
    source = _file_of(url)
    if not source.is_file():
        raise CopyError(f"there is no database at {source}: name its folder with --data-dir")
    with closing(sqlite3.connect(source, timeout=60)) as live, closing(sqlite3.connect(target)) as copied:
        live.backup(copied)
        copied.execute("PRAGMA journal_mode=DELETE").close()  # one file, with nothing beside it
    database = Database(f"sqlite:///{target}")
    try:
        with database.read() as session:
            files = _files(session)
        schema = _schema(database, source)
    finally:
        database.dispose()
    with closing(sqlite3.connect(target)) as copied:
        copied.execute("PRAGMA journal_mode=DELETE").close()
    return Copy(target, "sqlite", schema, files)


def _copy_postgresql(url: str, target: Path) -> Copy:
    """The dump and the list of files are of the same moment: both read from one snapshot."""
    database = Database(url, LONG_WORK)
    try:
        schema = _schema(database, make_url(url).render_as_string())
        options = {"isolation_level": "REPEATABLE READ"}
        with database.engine.connect().execution_options(**options) as connection, Session(connection) as session:
            snapshot = session.scalar(text("SELECT pg_export_snapshot()"))
            files = _files(session)
            _run("pg_dump", url, "--format=custom", f"--snapshot={snapshot}", f"--file={target}")
    finally:
        database.dispose()
    return Copy(target, "postgresql", schema, files)


def _schema(database: Database, where: object) -> str:
    found = version(database)
    if found is None:
        raise CopyError(f"the database {where} has no tables of this service")
    return found


def _files(session: Session) -> frozenset[str]:
    return frozenset(named.path for named in file_queries.named_files(session))


def _restore_sqlite(target: Path, source: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.copyfile(source, unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(target)


def _file_of(url: str) -> Path:
    return Path(make_url(url).database or "")


def _run(program: str, url: str, *arguments: str) -> None:
    """One of PostgreSQL's own programs; the password is in its environment, where no list of processes shows it."""
    path = shutil.which(program)
    if path is None:
        raise CopyError(
            f"needs PostgreSQL's program {program}, of the server's version or a newer one: install its client "
            f"programs and put them on PATH, or run {program} where the server is"
        )
    made = make_url(url)
    command = _command(path, made, arguments)
    child = subprocess.run(
        command,
        env={**os.environ, "PGPASSWORD": made.password or os.environ.get("PGPASSWORD", "")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        raise CopyError(f"{program} failed: {child.stderr.strip() or f'exit status {child.returncode}'}")


def _command(path: str, url: URL, arguments: Sequence[str]) -> list[str]:
    plain = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    return [path, "--no-password", f"--dbname={plain}", *arguments]
