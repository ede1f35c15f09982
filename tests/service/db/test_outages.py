"""PostgreSQL goes away in the middle of work and comes back: nothing that was told is lost, nothing is done twice."""

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from service.db import receipts
from service.db.models import AliasChange, Family, Receipt
from service.db.outages import patiently
from service.db.session import Database
from tests.families import make_family
from tests.fixtures.database import PostgresServer
from tests.service.kit import NOW

WRITERS = 4


@pytest.fixture
def on_postgres(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url)
    yield database
    database.dispose()


def note(session: Session, family: int, name: str) -> None:
    """A row with a number of its own: done twice, it is there twice."""
    session.add(AliasChange(family_id=family, name=name, reason="", at=NOW))


def counts(database: Database) -> dict[str, int]:
    with database.read() as session:
        rows = session.execute(select(AliasChange.name, func.count()).group_by(AliasChange.name))
        return {row[0]: row[1] for row in rows}


@contextmanager
def writing(database: Database, family: Family) -> Iterator[dict[str, bool]]:
    """Writers at work; which writes were acknowledged."""
    told: dict[str, bool] = {}
    stop = threading.Event()

    def work(writer: int) -> None:
        number = 0
        while not stop.is_set():
            name, number = f"{writer}-{number}", number + 1
            patiently(lambda name=name: database.write(lambda session: note(session, family.id, name)), 60)  # type: ignore[misc]
            told[name] = True

    with ThreadPoolExecutor(WRITERS) as pool:
        futures = [pool.submit(work, writer) for writer in range(WRITERS)]
        try:
            yield told
        finally:
            stop.set()
        for future in futures:
            future.result()


def grows(told: dict[str, bool], by: int) -> None:
    wanted, deadline = len(told) + by, time.monotonic() + 60
    while len(told) < wanted:
        assert time.monotonic() < deadline, "no write was acknowledged"
        time.sleep(0.005)


@pytest.mark.slow
def test_writers_survive_restarts(restartable: PostgresServer, on_postgres: Database) -> None:
    family = make_family(on_postgres)
    with writing(on_postgres, family) as told:
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGINT):
            grows(told, 100)
            restartable.stop(how)
            restartable.start()
        grows(told, 20)
    assert counts(on_postgres) == dict.fromkeys(told, 1)


@pytest.mark.parametrize(("commits", "runs"), [(True, 1), (False, 2)])
def test_a_commit_whose_answer_is_lost_counts_once(
    on_postgres: Database, monkeypatch: pytest.MonkeyPatch, commits: bool, runs: int
) -> None:
    """The connection breaks right after the commit, or right before it; the writer cannot tell which."""
    family, ran, cut = make_family(on_postgres), [], []
    dialect = on_postgres.engine.dialect
    do_commit = dialect.do_commit

    def lose(connection: Any) -> None:
        if commits or cut:
            do_commit(connection)
        if not cut:
            cut.append(connection)
            pid = connection.driver_connection.info.backend_pid
            with on_postgres.engine.connect() as other:
                other.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
            connection.driver_connection.execute("SELECT 1")

    def work(session: Session) -> None:
        ran.append(1)
        note(session, family.id, "once")

    monkeypatch.setattr(dialect, "do_commit", lose)
    on_postgres.write(work)
    assert cut
    assert len(ran) == runs
    assert counts(on_postgres) == {"once": 1}


def test_a_receipt_waits_for_a_commit_under_way(on_postgres: Database) -> None:
    with on_postgres.engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        receipt = receipts.of(connection)
        assert receipt is not None
        with Session(connection) as session:
            receipts.sign(session, receipt)
            asked = pool.submit(receipts.is_committed, on_postgres.engine, receipt)
            with pytest.raises(TimeoutError):
                asked.result(0.2)
            session.commit()
        assert asked.result(20)
        receipt.sequence += 1
        assert not receipts.is_committed(on_postgres.engine, receipt)


def test_old_receipts_go(on_postgres: Database) -> None:
    with on_postgres.engine.begin() as connection:
        connection.execute(Receipt.__table__.insert().values(id="old", sequence=1, at=NOW))  # type: ignore[attr-defined]
    make_family(on_postgres)
    with on_postgres.read() as session:
        assert session.get(Receipt, "old") is None


def test_what_does_not_pass_is_told_at_once(database: Database) -> None:
    tries = []

    def mistaken(session: Session) -> None:
        tries.append(1)
        session.connection().exec_driver_sql("SELECT * FROM nowhere")

    with pytest.raises((ProgrammingError, OperationalError)):
        database.write(mistaken)
    assert tries == [1]


def test_a_wrong_name_is_told_at_once(on_postgres: Database) -> None:
    wrong = Database(on_postgres.url.replace("/wa_", "/none_"))
    with pytest.raises(DBAPIError, match="does not exist"):
        patiently(lambda: make_family(wrong), 60)
    wrong.dispose()
