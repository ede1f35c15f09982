"""Engines, sessions and transactions.

A use case gets a Session and never commits; the edge runs it through `Database.write`, which commits, or through
`Database.read`. On SQLite a writing transaction begins with BEGIN IMMEDIATE: one that starts as a read and turns into a
write fails at once, whatever the busy time-out. A write may run more than once (the database was busy, or went away
before the commit), so its work must have no effect outside the session; but it is committed once (service/db/receipts).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.orm import Session

from service.db import receipts
from service.db.limits import Limits
from service.db.outages import patiently
from service.db.receipts import Receipt

if TYPE_CHECKING:
    from alembic.config import Config

T = TypeVar("T")

WRITE_PATIENCE_S = 4.0
"""A write waits so long for a database that is busy or away; who can wait longer says so (`outages.patiently`)."""
IN_DOUBT_S = 60.0
"""So long it is asked whether a commit took place, rather than giving up without knowing."""
IDLE_S = 1.0
"""A connection that was used since then is taken to be alive; others are asked, which costs a trip to the server."""

_RESTED = "warpadam.rested"

_POSTGRESQL = {
    "connect_timeout": 5,
    # A server that vanished without a word is noticed within half a minute.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Database:
    """One engine and its two ways in; a process builds one and passes it down."""

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        self.url = url
        self.engine = _engine(url, limits or Limits())
        self._writing = self.engine.execution_options(writes=True)
        # On PostgreSQL each SELECT sees its own moment anyway (READ COMMITTED): a transaction around them would only
        # cost two trips to the server. On SQLite it costs nothing, and all its SELECTs see the same moment.
        is_sqlite = self.engine.dialect.name == "sqlite"
        self._reading = self.engine if is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._turn: AbstractContextManager[object] = RLock() if url.startswith("sqlite") else nullcontext()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for SELECTs; objects that are changed in it are never written."""
        with self.reading() as session:
            yield session

    def reading(self) -> Session:
        """The same, for whoever closes it himself; it takes a connection when it first needs one."""
        return _ReadSession(self._reading, autoflush=False, expire_on_commit=False)

    def write(self, work: Callable[[Session], T]) -> T:
        """Runs `work` in one transaction and commits it; tries again where the database was busy or away."""
        return patiently(lambda: self._write_once(work), WRITE_PATIENCE_S)

    def _write_once(self, work: Callable[[Session], T]) -> T:
        # SQLite's waiters look again and again, and of many some never find it free: here they wait in turn.
        with self._turn, self._writing.connect() as connection:
            receipt = receipts.of(connection)
            with Session(connection, expire_on_commit=False) as session:
                result = work(session)
                self._commit(session, receipt)
        return result

    def _commit(self, session: Session, receipt: Receipt | None) -> None:
        if receipt is None:
            return session.commit()
        session.flush()
        receipts.sign(session, receipt)
        try:
            session.commit()
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            if not patiently(lambda: receipts.is_committed(self.engine, receipt), IN_DOUBT_S):
                raise
        return None

    def dispose(self) -> None:
        self.engine.dispose()


class _ReadSession(Session):
    def flush(self, objects: Any = None) -> None:
        raise RuntimeError("a session for reading writes nothing: use Database.write")


def _engine(url: str, limits: Limits) -> Engine:
    if not url.startswith("sqlite"):
        # No statement here runs so long that to compile it, for a tenth of a second, would pay.
        arguments = {**_POSTGRESQL, "options": f"-c jit=off {limits.options}"}
        engine = create_engine(url, pool_size=10, max_overflow=20, connect_args=arguments)
        event.listen(engine, "checkin", _note_rest)
        event.listen(engine, "checkout", _ask_rested)
        return engine
    _make_folder(url)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _note_rest(_connection: Any, record: Any) -> None:
    record.info[_RESTED] = time.monotonic()


def _ask_rested(connection: Any, record: Any, _proxy: object) -> None:
    """It is this statement, not a user's, that finds a connection dead; the pool then makes all of them anew."""
    now = time.monotonic()
    if now - record.info.get(_RESTED, now) < IDLE_S:
        return
    try:
        was, connection.autocommit = connection.autocommit, True
        connection.execute("")
        connection.autocommit = was
    except Exception as error:
        raise InvalidatePoolError() from error


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


def upgrade(url: str) -> None:
    """Brings the database to the newest schema by the migrations; makes it where it is new."""
    from alembic import command

    _make_folder(url)
    config = _migrations()
    config.attributes["url"] = url
    command.upgrade(config, "head")


def version(database: Database) -> str | None:
    """The schema that the database has; None where it has none of this service."""
    from alembic.migration import MigrationContext

    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head() -> str:
    """The newest schema that this program knows."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_migrations()).get_current_head() or ""


def _migrations() -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parents[2] / "migrations"))
    return config
