"""The meta-learner as a real actor: killed between contributions, taken over, ended."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.exceptions import RayActorError

from service import clock, learning, warps
from service.agreed import RefusedError
from service.db.models import Family
from service.db.session import Database
from service.errors import Unavailable
from service.settings import Settings
from service.storage import Storage
from tests.families import Running, contribution, make_family, make_job
from tests.fixtures.ray import NAMESPACE
from workers.meta.actor import end_learner, ensure_learner
from workers.meta.client import LearnerClient
from workers.meta.core import LearnerCore, solve
from workers.meta.ledger import verify_ledger
from workers.meta.messages import LearnerHandle

pytestmark = pytest.mark.ray


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, ray_connection: str) -> Settings:
    storage = str(tmp_path / "storage")
    return Settings(database_url=sqlite_url, storage_url=storage, ray_address=ray_connection, ray_namespace=NAMESPACE)


@pytest.fixture
def opened(settings: Settings) -> Iterator[Database]:
    database = Database(settings.database)
    yield database
    database.dispose()


@pytest.fixture
def family(opened: Database, settings: Settings) -> Iterator[Family]:
    family = make_family(opened)
    yield family
    end_learner(settings, family.id)


@pytest.fixture
def client(family: Family) -> LearnerClient:
    return LearnerClient(family.id, NAMESPACE)


def send(client: LearnerClient, job: Running, start: int, end: int) -> int:
    sent = contribution(job, start, end).encode()
    answer = client.exchange(sent, token=1, job_id=job.id)
    assert answer.refused is None
    return answer.acknowledged


def ping(settings: Settings, family: Family) -> dict[str, object]:
    return ray.get(ensure_learner(settings, family.id).ping.remote())


def wait_for_end(actor: LearnerHandle) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            ray.get(actor.ping.remote())
        except RayActorError:
            return
        time.sleep(0.05)
    pytest.fail("the actor still answers")


def crash(settings: Settings, family: Family) -> None:
    os.kill(int(str(ping(settings, family)["pid"])), signal.SIGKILL)


def restart(settings: Settings, family: Family) -> None:
    ray.kill(ensure_learner(settings, family.id), no_restart=False)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [crash, restart])
def test_a_killed_meta_learner_loses_and_doubles_nothing(
    opened: Database,
    settings: Settings,
    family: Family,
    client: LearnerClient,
    kill: Callable[[Settings, Family], None],
) -> None:
    jobs = [make_job(opened, family) for _ in range(2)]
    unkilled = LearnerCore(max_axis=settings.max_axis, max_bytes=settings.max_contribution_bytes)
    epoch = ping(settings, family)["epoch"]
    for start in (0, 20, 40):
        for job in jobs:
            assert send(client, job, start, start + 20) == start + 20
            unkilled.apply(contribution(job, start, start + 20))
        kill(settings, family)
        assert send(client, jobs[0], start, start + 20) == start + 20  # its answer might have been lost: sent again
    version = client.finalize(jobs[0].id, token=1)
    assert version is not None
    assert ping(settings, family)["epoch"] == int(str(epoch)) + 3
    solved = solve(unkilled.snapshot)
    assert solved is not None
    with opened.read() as session:
        row = warps.get(session, family, version)
        assert row.statistics_digest == solved.digest
        assert warps.content(session, row) == solved.warp(family.name, version, row.parent)
        assert verify_ledger(session, Storage(settings.storage), family.id).problems == []


@pytest.mark.slow
def test_calls_under_way_survive_the_kill(
    opened: Database, settings: Settings, family: Family, client: LearnerClient
) -> None:
    job = make_job(opened, family)
    crash(settings, family)
    under_way = [client.exchange_async(contribution(job, 0, 20).encode(), token=1, job_id=job.id) for _ in range(3)]
    crash(settings, family)
    assert [one.result().acknowledged for one in under_way] == [20, 20, 20]
    assert client.finalize(job.id, token=1) is not None
    assert ping(settings, family)["contributions"] == 1


def test_one_that_finds_a_newer_epoch_ends_for_good(
    opened: Database, settings: Settings, family: Family, client: LearnerClient
) -> None:
    job = make_job(opened, family)
    older = ensure_learner(settings, family.id)
    send(client, job, 0, 20)
    newer = opened.write(lambda session: learning.claim_epoch(session, family.id, now=clock.now()))
    under_way = client.exchange_async(contribution(job, 20, 40).encode(), token=1, job_id=job.id)
    wait_for_end(older)
    assert not under_way.done()
    with pytest.raises(Unavailable, match="learner-"):
        client.finalize(job.id, token=1, timeout_s=0.5)
    assert ping(settings, family)["epoch"] == newer + 1  # made again, as the dispatcher does
    assert under_way.result().acknowledged == 40
    assert client.finalize(job.id, token=1) is not None


def test_a_worker_need_not_wait_for_its_meta_learner(
    opened: Database, settings: Settings, family: Family, client: LearnerClient
) -> None:
    job = make_job(opened, family)
    early = client.exchange_async(contribution(job, 0, 20).encode(), token=1, job_id=job.id, follow="champion")
    assert not early.done()
    assert ray.get(ensure_learner(settings, family.id).ping.remote())["family_id"] == family.id
    assert early.result().acknowledged == 20
    assert early.done()
    version = client.finalize(job.id, token=1)
    answer = client.exchange(None, token=1, job_id=job.id, follow="champion")
    assert (answer.version, answer.acknowledged) == (version, 20)
    assert answer.warp is not None


def test_refusals_come_back_as_such(
    opened: Database, settings: Settings, family: Family, client: LearnerClient
) -> None:
    ensure_learner(settings, family.id)
    job = make_job(opened, family)
    send(client, job, 0, 20)
    answer = client.exchange(contribution(job, 10, 30).encode(), token=1, job_id=job.id)
    assert answer.refused is not None
    assert answer.refused["code"] == "overlap"
    with pytest.raises(RefusedError) as caught:
        client.finalize(job.id, token=7)
    assert caught.value.code == "stale_token"
