"""A database per test, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest

from service.db.session import Database
from tests.service.kit import Bench


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)
