"""The dispatcher lends workers to elastic jobs and takes them back, on real databases; its programs only sleep."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from service import attempts, clock
from service.attempts import Fence
from service.db.session import Database
from service.settings import Settings
from service.states import JobState
from tests.service.kit import Bench
from tests.workers.test_dispatcher import GivenPool
from workers import dispatcher as looks
from workers.cluster import View
from workers.dispatcher import Dispatcher
from workers.launchers import ProcessLauncher
from workers.policies import Node


def test_it_lends_what_is_free_and_takes_it_back_for_who_waits(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "SURVEY_S", 0.0)
    (tmp_path / "logs").mkdir()
    bench, pool = Bench(database), GivenPool(View((Node("a", 2, 0),), connected=True, error=None))
    settings = Settings(data_dir=tmp_path, warm_runner=False, elastic_every_s=0, start_s=600)
    launcher = ProcessLauncher(tmp_path / "logs", ("sh", "-c", "sleep 600"), warm=False)
    dispatcher = Dispatcher(settings, database, launcher, pool)
    job = bench.submit(resources={"workers": {"min": 1, "max": 4}}).id
    try:
        dispatcher.step()
        (live,) = bench.read(attempts.live)
        assert granted(bench, live.fence) == 2
        begin_group(bench, live.fence, 2)

        pool.seen = View((Node("a", 2, 0), Node("b", 2, 0)), connected=True, error=None)
        dispatcher.step()
        assert granted(bench, live.fence) == 4, "a node came"
        begin_group(bench, live.fence, 4)

        other = bench.submit().id
        dispatcher.step()
        assert (granted(bench, live.fence), bench.state(other)) == (3, JobState.QUEUED)
        begin_group(bench, live.fence, 3)
        dispatcher.step()
        assert bench.state(other) == JobState.STARTING
        assert bench.state(job) == JobState.RUNNING
    finally:
        dispatcher.launcher.close(grace_s=0.0)


def granted(bench: Bench, fence: Fence) -> int | None:
    return bench.read(lambda session: attempts.granted(session, fence))


def begin_group(bench: Bench, fence: Fence, workers: int) -> None:
    """As the runner does it."""

    def write(session: Session) -> None:
        attempts.start(session, fence, start_step=0, pid=None, now=clock.now())
        attempts.begin_group(session, fence, step=0, workers=workers, now=clock.now())

    bench.write(write)
