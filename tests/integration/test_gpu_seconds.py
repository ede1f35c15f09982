"""GPU-seconds of a real job on a GPU that only Ray believes in: counted once whatever dies, refused beyond a quota."""

import time
from collections.abc import Iterator

import httpx
import pytest

from service import clock, jobs, projects, quotas
from service.access import COMMAND, Caller
from service.db.models import Attempt, Job, Snapshot
from service.states import JobState
from tests.chaos import blows, load
from tests.chaos.house import House, opened, until
from tests.chaos.plan import Blow

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(480)]  # on a machine that does other things too

PROJECT = "default"
PATIENCE_S = 180.0
QUOTA_S = 1
SOON_S = 1.0
"""Long enough for what is counted to be seen to grow, or not to."""


@pytest.fixture
def house() -> Iterator[House]:
    with opened(House("sqlite", gpus=1, variables={"WARPADAM_QUOTA_GPU_SECONDS": str(QUOTA_S)})) as house:
        yield house


def endless(gpus: int) -> load.Json:
    """A job that trains until it is told to stop."""
    described = load.job(0, contributes=False)
    training = {**described["training"], "steps": 1_000_000, "eval_every": 1000, "checkpoint_every": 1000}
    return {**described, "training": training, "resources": {"gpus_per_worker": gpus}, "queue_timeout_s": None}


def used(house: House) -> float:
    """What is counted now."""
    with house.database.read() as session:
        return quotas.gpu_seconds(session, clock.now()).get(PROJECT, 0.0)


def attempts(house: House, job: str) -> list[Attempt]:
    with house.database.read() as session:
        return jobs.attempts(session, job)


def trains(house: House, job: str, attempt: int) -> bool:
    with house.database.read() as session:
        row = session.get_one(Job, job)
        assert not JobState(row.state).is_terminal, row.failure
        return row.state == JobState.RUNNING and row.attempt == attempt and row.progress_step > 0


def waits_for_its_quota(house: House, job: str) -> bool:
    told = house.call("GET", f"/v1/jobs/{job}").json()
    reason = told["pending_reason"] or {"code": None, "message": ""}
    return (told["state"], reason["code"]) == ("queued", "quota") and "next month" in reason["message"]


def kill_dispatcher(house: House) -> None:
    """Until another one has looked at the cluster."""
    at = clock.now()
    assert blows.deal(house, Blow("dispatcher", 0.0, None))

    def is_back() -> bool:
        with house.database.read() as session:
            return any(row.at > at and row.data["ray"]["connected"] for row in session.query(Snapshot))

    until(is_back, "another dispatcher", PATIENCE_S)


def test_gpu_seconds_are_counted_once_and_refused_beyond_the_quota(house: House) -> None:
    began = time.monotonic()
    job = house.submit(endless(gpus=1))
    until(lambda: trains(house, job, attempt=1), "it trains", PATIENCE_S)

    before = used(house)
    assert before > 0
    kill_dispatcher(house)
    assert used(house) >= before + SOON_S / 10
    assert used(house) <= time.monotonic() - began, "one GPU gives a second in a second"
    assert trains(house, job, attempt=1)

    until(lambda: used(house) > QUOTA_S, "the quota is used", PATIENCE_S)
    refused = httpx.post(f"{house.url}/v1/jobs", json=endless(gpus=1), timeout=PATIENCE_S)  # which is asked only once
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert f"of its {QUOTA_S} GPU-seconds in this month" in refused.json()["detail"]
    assert refused.json()["param"] == "resources.gpus_per_worker"
    house.call("POST", f"/v1/jobs/{house.submit(endless(gpus=0))}/cancel")

    assert blows.deal(house, Blow("runner", 0.0, None))
    kill_dispatcher(house)
    until(lambda: waits_for_its_quota(house, job), "it waits for the next month", PATIENCE_S)
    lost = used(house)
    time.sleep(SOON_S)
    assert used(house) == lost, "who waits holds no GPU"

    operator = Caller(PROJECT, COMMAND)
    more = {"gpu_seconds": 1_000_000}
    house.database.write(lambda session: projects.set_limits(session, operator, more, reset=set(), now=clock.now()))
    until(lambda: trains(house, job, attempt=2), "it goes on", PATIENCE_S)
    house.call("POST", f"/v1/jobs/{job}/cancel")
    until(lambda: all(each.finished_at for each in attempts(house, job)), "it is cancelled", PATIENCE_S)
    took = time.monotonic() - began
    spans = [(each.finished_at - each.created_at).total_seconds() for each in attempts(house, job) if each.finished_at]
    assert len(spans) == 2
    assert used(house) == pytest.approx(sum(spans))
    assert lost < used(house) <= took
    assert house.call("GET", "/v1/cluster").json()["gpus"] == 1
