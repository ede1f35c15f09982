"""PostgreSQL restarts under an attempt, a meta-learner and a dispatcher; none of them fails, nothing is missing."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.db.session import Database
from service.states import JobState
from service.storage import Storage
from tests.families import contribution, make_family, make_job
from tests.fixtures.database import PostgresServer
from tests.service.kit import Bench
from tests.workers.jobs import House
from tests.workers.test_dispatcher import GivenPool, until
from tests.workers.test_two_dispatchers import Claimed, InstantLauncher
from workers.cluster import View
from workers.dispatcher import Dispatcher
from workers.meta.actor import FamilyLearner
from workers.meta.ledger import verify_ledger
from workers.policies import Node
from workers.runner import RECORDED, Runner

AWAY_S = 1.0


@pytest.fixture
def house(postgres_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(postgres_url, tmp_path, poll_s=0.05)
    yield built
    built.memory.database.dispose()


def away(server: PostgresServer, how: signal.Signals = signal.SIGINT, meanwhile: Callable[[], object] = bool) -> None:
    server.stop(how)
    meanwhile()
    time.sleep(AWAY_S)  # long enough for several tries to fail
    server.start()


@pytest.mark.slow
def test_an_attempt_survives_restarts(house: House, restartable: PostgresServer) -> None:
    """Once while it trains, and once just before its last word."""
    fence = house.start(training={"steps": 800, "eval_every": 0, "checkpoint_every": 500})
    runner = Runner(house.memory, fence)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(runner.run()))
    thread.start()
    until(lambda: house.job(fence.job_id).progress_step > 0)
    away(restartable, signal.SIGQUIT)
    thread.join(120)
    job = house.job(fence.job_id)
    assert (codes, job.state, job.attempt) == ([RECORDED], JobState.SUCCEEDED, 1)
    assert [step for step, _ in house.points(fence.job_id, "lr")][-1] == 800
    assert house.events(fence.job_id).count("end") == 1


@pytest.mark.slow
def test_an_attempt_ends_while_the_database_is_away(house: House, restartable: PostgresServer) -> None:
    fence = house.start(training={"steps": 60, "eval_every": 0, "checkpoint_every": 0})
    runner = Runner(house.memory, fence)
    begun = runner._book.begin  # what stands between a plan and its training
    thread = threading.Thread(target=runner.run)

    def begin_and_stop(*arguments: object) -> None:
        begun(*arguments)  # type: ignore[arg-type]
        restartable.stop(signal.SIGINT)

    runner._book.begin = begin_and_stop  # type: ignore[method-assign]
    thread.start()
    until(lambda: not restartable.runs())
    time.sleep(AWAY_S)
    restartable.start()
    thread.join(120)
    job = house.job(fence.job_id)
    assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1)


@pytest.mark.slow
def test_a_meta_learner_answers_when_the_database_is_back(house: House, restartable: PostgresServer) -> None:
    database: Database = house.memory.database
    family = make_family(database)
    job = make_job(database, family)
    learner = FamilyLearner(house.memory.settings, family.id)
    sent = [contribution(job, 0, 50), contribution(job, 50, 80, sequence=1)]
    assert learner.exchange(sent[0].encode(), job.token, job.id, None, None).acknowledged == 50
    answers: list[int] = []
    asking = threading.Thread(
        target=lambda: answers.append(learner.exchange(sent[1].encode(), job.token, job.id, None, None).acknowledged)
    )
    away(restartable, signal.SIGINT, asking.start)
    asking.join(60)
    assert answers == [80]
    version = learner.finalize(job.id, job.token)
    learner._learner.close()
    learner._learner._database.dispose()
    with database.read() as session:
        found = verify_ledger(session, Storage(house.memory.settings.storage), family.id)
    assert (found.version, found.pending, found.problems) == (version, 0, [])


@pytest.mark.slow
def test_a_dispatcher_goes_on_when_the_database_is_back(
    house: House, postgres_url: str, restartable: PostgresServer
) -> None:
    own, bench, done = Database(postgres_url), Bench(house.memory.database), threading.Event()
    launcher = InstantLauncher(own, Claimed())
    pool = GivenPool(View((Node("a", 2, 0),), connected=True, error=None))
    dispatcher = Dispatcher(house.memory.settings, own, launcher, pool, "d")
    thread = threading.Thread(target=dispatcher.run, args=(done,))
    thread.start()
    away(restartable)
    job = bench.submit(training={"steps": 5}).id
    until(lambda: bench.state(job) == JobState.SUCCEEDED, 60)
    done.set()
    thread.join(30)
    own.dispose()
