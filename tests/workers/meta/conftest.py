"""A family, its storage, and meta-learners over them, without Ray."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import growing
from service.db.models import Family
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage
from tests.families import make_family
from tests.workers.meta.nursery import Nursery
from workers.meta.learner import Learner

StartLearner = Callable[..., Learner]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "storage"))


@pytest.fixture
def family(database: Database) -> Family:
    return make_family(database)


@pytest.fixture
def start_learner(database: Database, storage: Storage, family: Family) -> Iterator[StartLearner]:
    """Starts a meta-learner of the family, with settings as given; all are closed after the test."""
    started: list[Learner] = []

    def start(**settings: float) -> Learner:
        values = {"publish_every_s": 3600.0, **settings}
        started.append(Learner(database, storage, Settings(**values), family.id))
        return started[-1]

    yield start
    for learner in started:
        learner.close()


@pytest.fixture
def learner(start_learner: StartLearner) -> Learner:
    """One that publishes its first version at once and then only on demand."""
    return start_learner()


@pytest.fixture
def nursery(database: Database, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Nursery:
    """Where one contributor is enough for the first round, which keeps the tests short."""
    monkeypatch.setattr(growing, "FIRST", 1)
    return Nursery(database, storage)
