"""Ray's head is killed under a group that trains: the job goes on from its last checkpoint, as if nothing had been."""

import os
import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import select

from service.db.models import Attempt, Checkpoint, Event, Job
from service.states import JobState
from tests.chaos import invariants, load
from tests.chaos.campaign import Campaign, Result
from tests.chaos.house import House, opened, until

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(480)]  # on a machine that does other things too

STEPS, EVERY = 400, 20
SHAPE = "head"


@pytest.fixture
def house() -> Iterator[House]:
    with opened(House("sqlite")) as house:
        yield house


def spec(workers: int) -> load.Json:
    """The same training, in the runner's own process or by a group on Ray."""
    described = load.job(0, group=workers > 1)
    training = {**described["training"], "steps": STEPS, "checkpoint_every": EVERY}
    resources = {**described["resources"], "workers": workers}
    return {**described, "training": training, "resources": resources, "metadata": {"shape": SHAPE}}


def checkpoints(house: House, job: str) -> list[Checkpoint]:
    """Those that an attempt can go on from, oldest first."""
    statement = select(Checkpoint).where(Checkpoint.job_id == job, Checkpoint.state_path.is_not(None))
    with house.database.read() as session:
        return list(session.scalars(statement.order_by(Checkpoint.step)))


def test_a_group_goes_on_from_its_last_checkpoint_when_rays_head_is_killed(house: House) -> None:
    campaign = Campaign(house, Result("sqlite", seed=0))
    undisturbed = campaign.submit(spec(1))
    campaign.settle([undisturbed])
    campaign.references[SHAPE] = campaign.losses(undisturbed)

    (head,) = house.children("ray.scripts.scripts", "start")
    job = campaign.submit(spec(2))
    until(lambda: checkpoints(house, job), "its first checkpoint", 180)
    os.killpg(head.pid, signal.SIGKILL)
    campaign.settle([job])

    assert invariants.check(house, [undisturbed, job], campaign.references) == []
    with house.database.read() as session:
        row = session.get_one(Job, job)
        first, second = session.scalars(select(Attempt).where(Attempt.job_id == job).order_by(Attempt.number))
        ends = session.scalars(select(Event).where(Event.job_id == job, Event.type == "end")).all()
    assert (row.state, row.failure, len(ends)) == (JobState.SUCCEEDED, None, 1)
    assert (first.failure or {})["category"] == "infrastructure"
    known = [each.step for each in checkpoints(house, job) if each.attempt == 1]
    assert EVERY <= known[-1] < STEPS
    assert (first.start_step, second.start_step) == (0, known[-1])
