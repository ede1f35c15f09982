"""Two dispatchers on one database: each job is claimed once, and together they admit no more than there is room for."""

import threading
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service import attempts, clock
from service.attempts import Fence
from service.db.models import Attempt, Job
from service.db.session import Database
from service.settings import Settings
from service.states import JobState
from tests.service.kit import Bench
from tests.workers.test_dispatcher import GivenPool
from workers.cluster import View
from workers.dispatcher import Dispatcher
from workers.launchers import Adoption, Ended, Launch
from workers.policies import Node

JOBS, ROOM = 16, 2


@dataclass
class Claimed:
    """What both launchers were told to start, and the most that ever ran at once."""

    launches: list[Launch] = field(default_factory=list)
    most: int = 0


@dataclass
class InstantLauncher:
    """Its programs succeed in a moment: by the attempt's own word in the database, as a runner's do."""

    database: Database
    claimed: Claimed
    name: str = "ray-jobs"
    outlives: bool = True
    threads: list[threading.Thread] = field(default_factory=list)

    def launch(self, launch: Launch) -> int | None:
        self.claimed.launches.append(launch)
        self.threads.append(threading.Thread(target=self._run, args=(launch,)))
        self.threads[-1].start()
        return None

    def _run(self, launch: Launch) -> None:
        fence = Fence(launch.job_id, launch.attempt, launch.token)
        with self.database.read() as session:
            alive = session.scalar(
                select(func.count()).select_from(Job).where(Job.state.in_([s for s in JobState if s.has_attempt]))
            )
        self.claimed.most = max(self.claimed.most, alive or 0)
        self.database.write(
            lambda session: attempts.start(session, fence, start_step=0, pid=None, now=clock.now())  # type: ignore[arg-type]
        )
        self.database.write(
            lambda session: attempts.finish(session, fence, outcome="succeeded", result={"steps": 5}, now=clock.now())
        )

    def adopt(self, launch: Launch) -> Adoption:
        return "watched"

    def sweep(self, living: Set[str]) -> None:
        pass

    def ended(self) -> list[Ended]:
        return []

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        raise AssertionError(f"{submission_id} was to be stopped")

    def tend(self, *, connected: bool, may_start: bool) -> None:
        pass

    def close(self, *, grace_s: float) -> None:
        for thread in self.threads:
            thread.join()


@dataclass
class Both:
    """Two dispatchers at work, each with connections of its own."""

    claimed: Claimed
    dispatchers: list[Dispatcher]

    def work_until(self, done: threading.Event) -> None:
        threads = [threading.Thread(target=dispatcher.run, args=(done,)) for dispatcher in self.dispatchers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.fixture
def both(database_url: str, tmp_path: Path) -> Iterator[Both]:
    claimed = Claimed()
    view = View((Node("a", ROOM, 0),), connected=True, error=None)
    settings = Settings(data_dir=tmp_path, poll_s=0.005)
    databases = [Database(database_url) for _ in range(2)]
    yield Both(
        claimed,
        [
            Dispatcher(settings, database, InstantLauncher(database, claimed), GivenPool(replace(view)), f"d{number}")
            for number, database in enumerate(databases)
        ],
    )
    for database in databases:
        database.dispose()


def test_no_job_is_claimed_twice_and_no_room_given_twice(both: Both, database: Database) -> None:
    bench, done = Bench(database), threading.Event()
    jobs = {bench.submit(training={"steps": 5}).id for _ in range(JOBS)}

    def watch() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(succeeded()) < JOBS:
            time.sleep(0.02)
        done.set()

    def succeeded() -> list[str]:
        with database.read() as session:
            return list(session.scalars(select(Job.id).where(Job.state == JobState.SUCCEEDED)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    both.work_until(done)
    watcher.join()
    assert set(succeeded()) == jobs
    assert sorted(launch.job_id for launch in both.claimed.launches) == sorted(jobs)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Attempt)) == JOBS
    assert both.claimed.most <= ROOM
