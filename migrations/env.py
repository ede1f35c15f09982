"""Runs the migrations in one transaction, one upgrade at a time.

The database's URL comes in `config.attributes["url"]`. Whoever upgrades holds a lock before it reads which version the
schema has (an advisory lock on PostgreSQL, the write lock on SQLite), so a second upgrade at the same moment waits and
then finds nothing to do. A failure leaves the schema as it was.
"""

from typing import Any

from alembic import context
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.engine import make_url

from service.db.models import Base

_LOCK = 0x57A2_9ADA  # any number that nothing else in the database locks


def _engine(url: str) -> Engine:
    engine = create_engine(url, poolclass=NullPool)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    """Foreign keys are off while tables are rebuilt, which is how SQLite alters them; they are checked afterwards."""
    connection.isolation_level = None
    for pragma in ("busy_timeout=60000", "foreign_keys=OFF"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _check_sqlite(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        raise RuntimeError(f"The migration would leave rows that refer to nothing, and was undone: {broken[:5]}")


def migrate() -> None:
    url = context.config.attributes["url"]
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                for limit in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
                    connection.execute(text(f"SET LOCAL {limit} = 0"))  # whatever the server sets for others
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_item=context.config.attributes.get("render_item"),
                render_as_batch=make_url(url).get_backend_name() == "sqlite",
            )
            with context.begin_transaction():
                context.run_migrations()
            if engine.dialect.name == "sqlite":
                _check_sqlite(connection)
    finally:
        engine.dispose()


migrate()
