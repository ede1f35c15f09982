"""A bench per test, on SQLite and on PostgreSQL."""

import pytest

from service.db.session import Database
from tests.service.kit import Bench


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)
