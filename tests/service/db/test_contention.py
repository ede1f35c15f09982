"""Many processes write to one database at once: each waits its turn, none fails, and nothing is lost."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from sqlalchemy import ExceptionContext, event, func, select, text
from sqlalchemy.orm import Session

from service.db.models import AliasChange, Family
from service.db.session import Database
from tests.families import make_family
from tests.service.kit import NOW

PROCESSES, WRITES = 3, 60


def count_up(url: str, family: int) -> None:
    """Reads and then writes, in one transaction: what SQLite refuses unless it began as a write."""
    database = Database(url)
    for _ in range(WRITES):
        database.write(lambda session: _count(session, family))
    database.dispose()


def _count(session: Session, family_id: int) -> None:
    family = session.scalars(select(Family).where(Family.id == family_id).with_for_update()).one()
    family.accepted += 1
    session.add(AliasChange(family_id=family_id, name="x", reason="", at=NOW))


def at_once(work: Callable[..., None], *arguments: object) -> None:
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(work, *arguments) for _ in range(PROCESSES)]:
            future.result(120)


def test_writers_take_turns(database: Database) -> None:
    family = make_family(database)
    at_once(count_up, database.url, family.id)
    with database.read() as session:
        assert session.get_one(Family, family.id).accepted == PROCESSES * WRITES
        assert session.scalar(select(func.count()).select_from(AliasChange)) == PROCESSES * WRITES


def test_sqlite_keeps_readers_and_a_writer_apart(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    pragmas = {"journal_mode": "wal", "busy_timeout": 30_000, "foreign_keys": 1, "synchronous": 2}
    with database.read() as session:
        assert {name: session.scalar(text(f"PRAGMA {name}")) for name in pragmas} == pragmas
        make_family(database)  # a reader in a transaction keeps nobody from writing
    database.dispose()


def test_threads_of_one_process_wait_for_each_other_and_not_for_sqlite(sqlite_url: str) -> None:
    """Whoever only looks again and again whether SQLite is free may find it taken for ever."""
    database = Database(sqlite_url)
    family = make_family(database)
    refused: list[ExceptionContext] = []
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 0"))
    event.listen(database.engine, "handle_error", refused.append)
    database.dispose()  # of what was connected before

    def work(session: Session) -> None:
        _count(session, family.id)
        time.sleep(0.002)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: database.write(work), range(64)))
    assert refused == []
    with database.read() as session:
        assert session.get_one(Family, family.id).accepted == 64
    database.dispose()
