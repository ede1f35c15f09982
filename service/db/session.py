"""Engines, sessions and transactions.

A use case gets a Session and never commits; the edge runs it through `Database.write`, which commits, or through
`Database.read`. On SQLite a writing transaction begins with BEGIN IMMEDIATE: one that starts as a read and turns into a
write fails at once, whatever the busy time-out. A write may run more than once (the database was busy, or a
connection broke before the commit), so its work must have no effect outside the session.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

T = TypeVar("T")

_TRIES = 8
_SERIALIZATION_FAILURES = {"40001", "40P01"}


class Database:
    """One engine and its two ways in; a process builds one and passes it down."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for SELECTs; what it changes is rolled back."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def write(self, work: Callable[[Session], T]) -> T:
        """Runs `work` in one transaction and commits it; tries again where the database was busy."""
        for attempt in range(1, _TRIES + 1):
            try:
                with Session(self.engine.execution_options(writes=True), expire_on_commit=False) as session:
                    result = work(session)
                    session.commit()
                    return result
            except DBAPIError as error:
                if attempt == _TRIES or not _is_transient(error):
                    raise
                time.sleep(random.uniform(0.5, 1.0) * min(2.0, 0.02 * 2**attempt))
        raise AssertionError("unreachable")

    def dispose(self) -> None:
        self.engine.dispose()


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    _make_folder(url)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _make_folder(url: str) -> None:
    """SQLite makes its file, but not the folder that it is in."""
    path = make_url(url).database
    if url.startswith("sqlite") and path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself: `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=30000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _is_transient(error: DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    text = str(error.orig)
    if isinstance(error, OperationalError) and ("database is locked" in text or "database is busy" in text):
        return True
    return getattr(error.orig, "sqlstate", None) in _SERIALIZATION_FAILURES


def upgrade(url: str) -> None:
    """Brings the database to the newest schema by the migrations; makes it where it is new."""
    from alembic import command
    from alembic.config import Config

    _make_folder(url)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")
