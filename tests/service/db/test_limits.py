"""PostgreSQL ends what takes too long, of whoever serves; what an operator waits for may take its time."""

import threading
import time

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from service.db.limits import LONG_WORK, Limits
from service.db.models import Family
from service.db.session import Database
from service.settings import Settings
from tests.families import make_family

NAMES = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def told(database: Database) -> list[str]:
    with database.read() as session:
        return [str(session.scalar(text(f"SHOW {name}"))) for name in NAMES]


def rename(session: Session, family: int, name: str) -> None:
    session.get_one(Family, family).description = name


def described(database: Database, family: int) -> str:
    with database.read() as session:
        return session.get_one(Family, family).description


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        (Settings().database_limits, ["1min", "30s", "1min"]),
        (
            Settings(database_statement_s=1.5, database_lock_s=2, database_idle_s=0).database_limits,
            ["1500ms", "2s", "0"],
        ),
        (LONG_WORK, ["0", "30s", "0"]),
    ],
)
def test_the_server_is_told(postgres_url: str, limits: Limits, shown: list[str]) -> None:
    database = Database(postgres_url, limits)
    assert told(database) == shown
    database.dispose()


def test_a_statement_that_takes_too_long_is_ended_and_not_tried_again(postgres_url: str) -> None:
    database, ran = Database(postgres_url, Limits(statement_s=0.2)), []

    def work(session: Session) -> None:
        ran.append(1)
        session.execute(text("SELECT pg_sleep(20)"))

    began = time.monotonic()
    with pytest.raises(DBAPIError, match="statement timeout"):
        database.write(work)
    assert ran == [1]
    assert time.monotonic() - began < 10
    assert told(database)[0] == "200ms"  # and the database serves on
    database.dispose()


def test_who_waits_too_long_for_a_lock_tries_again(postgres_url: str) -> None:
    database, tries = Database(postgres_url, Limits(lock_s=0.1)), []
    family = make_family(database).id
    holds, lets_go = threading.Event(), threading.Event()

    def hold(session: Session) -> None:
        rename(session, family, "first")
        session.flush()
        holds.set()
        assert lets_go.wait(20)

    def follow(session: Session) -> None:
        tries.append(1)
        if len(tries) == 2:
            lets_go.set()
        rename(session, family, "second")

    holder = threading.Thread(target=database.write, args=(hold,))
    holder.start()
    assert holds.wait(20)
    database.write(follow)
    holder.join()
    assert len(tries) > 1
    assert described(database, family) == "second"
    database.dispose()


def test_who_stands_still_within_a_transaction_is_ended_and_tries_again(postgres_url: str) -> None:
    database, tries = Database(postgres_url, Limits(idle_s=0.2)), []
    family = make_family(database).id

    def work(session: Session) -> None:
        tries.append(1)
        rename(session, family, f"try {len(tries)}")
        session.flush()
        if len(tries) == 1:
            time.sleep(1)

    database.write(work)
    assert tries == [1, 1]
    assert described(database, family) == "try 2"
    database.dispose()
