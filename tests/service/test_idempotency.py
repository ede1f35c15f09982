"""Stored answers: replay, mismatch, in flight, and their end."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from service import idempotency
from service.db.session import Database
from service.errors import IdempotencyInFlight, IdempotencyMismatch
from service.idempotency import StoredAnswer
from tests.service.kit import NOW, later

HOUR = 3600
KEY = ("default", "/v1/jobs", "k")


def begin(database: Database, body: str = "b", now: datetime = NOW) -> StoredAnswer | None:
    return database.write(lambda session: idempotency.begin(session, *KEY, body, now))


def finish(database: Database) -> None:
    headers = {"Location": "/x"}
    database.write(lambda session: idempotency.finish(session, *KEY, status=201, headers=headers, body="{}"))


def test_the_same_request_replays_the_answer(database: Database) -> None:
    assert begin(database) is None
    finish(database)
    assert begin(database) == StoredAnswer(201, {"Location": "/x"}, "{}")
    with pytest.raises(IdempotencyMismatch):
        begin(database, "other")


def test_while_the_first_runs(database: Database) -> None:
    begin(database)
    with pytest.raises(IdempotencyInFlight):
        begin(database)
    with pytest.raises(IdempotencyMismatch):
        begin(database, "other")


def test_a_request_that_was_not_executed_frees_its_key(database: Database) -> None:
    begin(database)
    database.write(lambda session: idempotency.abandon(session, *KEY))
    assert begin(database, "other") is None


def test_abandoning_keeps_a_stored_answer(database: Database) -> None:
    begin(database)
    finish(database)
    database.write(lambda session: idempotency.abandon(session, *KEY))
    assert begin(database) is not None


def test_projects_and_paths_do_not_mix(database: Database) -> None:
    begin(database)
    for other in (("other", KEY[1], KEY[2]), (KEY[0], "/v1/datasets", KEY[2]), (KEY[0], KEY[1], "l")):
        assert database.write(lambda session, key=other: idempotency.begin(session, *key, "b", NOW)) is None


def test_answers_are_kept_for_a_day(database: Database) -> None:
    begin(database)
    finish(database)
    assert begin(database, now=later(24 * HOUR - 1)) is not None
    assert begin(database, "other", now=later(24 * HOUR)) is None


def test_a_key_whose_process_died_is_free_again(database: Database) -> None:
    begin(database)
    with pytest.raises(IdempotencyInFlight):
        begin(database, now=later(HOUR / 4 - 1))
    assert begin(database, now=later(HOUR / 4)) is None


def test_of_many_at_once_one_executes(database: Database) -> None:
    barrier = threading.Barrier(5)

    def attempt() -> bool:
        barrier.wait()
        try:
            return begin(database) is None
        except IdempotencyInFlight:
            return False

    with ThreadPoolExecutor(5) as pool:
        assert sum(future.result() for future in [pool.submit(attempt) for _ in range(5)]) == 1
