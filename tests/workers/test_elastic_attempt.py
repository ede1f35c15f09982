"""A whole elastic attempt whose groups are threads of nobody: they train here, one worker each, and end as told."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from service import attempts, jobs
from service.attempts import Fence
from service.db.models import Attempt
from service.states import JobState
from tests.workers.jobs import House
from tests.workers.plans import Learner
from workers.failures import WorkersLostError
from workers.group import Group
from workers.mailbox import Ended, Inbox, Note
from workers.plan import Plan
from workers.policies import Node
from workers.regroup import Regroup
from workers.reporting import Progress
from workers.runner import RECORDED, Runner
from workers.train import train

STEPS = 40
TRAINING = {"steps": STEPS, "eval_every": 10, "checkpoint_every": 10}
ELASTIC = {"workers": {"min": 1, "max": 2}}


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(database_url, tmp_path)
    yield built
    built.memory.database.dispose()


class Watched(Inbox):
    """Does something when the loop gets to a step."""

    def __init__(self, acts: "Acts") -> None:
        super().__init__()
        self._acts = acts

    def post(self, message: Note) -> None:
        super().post(message)
        if isinstance(message, Progress) and message.step in self._acts:
            self._acts.pop(message.step)(self)


Acts = dict[int, Callable[[Watched], None]]


@dataclass
class Groups:
    """What `fit_for` gives: each plan's group is of one worker, whatever its number is said to be."""

    acts: "Acts"
    plans: list[Plan] = field(default_factory=list)

    def fit_for(self, plan: Plan, *_: object) -> "OneWorker":
        self.plans.append(plan)
        return OneWorker(plan, Watched(self.acts))


@dataclass
class OneWorker:
    plan: Plan
    source: Watched
    leaves_no_trace: bool = False

    def run(self) -> None:
        self.source.post(Ended(train(self.plan, Group(), self.source, Learner())))


def die(_: Watched) -> None:
    raise WorkersLostError("a node is gone")


def run(house: House, monkeypatch: pytest.MonkeyPatch, acts: Callable[[Fence], "Acts"]) -> Groups:
    fence = house.start(training=TRAINING, resources=ELASTIC)
    groups = Groups(acts(fence))
    monkeypatch.setattr("workers.runner.fit_for", groups.fit_for)
    monkeypatch.setattr("workers.runner.connect", lambda _: None)
    monkeypatch.setattr("workers.runner.Regroup", partial(Regroup, nodes=lambda: [Node("a", 4, 0)]))
    assert Runner(house.memory, fence).run() == RECORDED
    return groups


def attempt_of(house: House, job: str) -> Attempt:
    with house.memory.database.read() as session:
        (found,) = jobs.attempts(session, job)
        return found


def undisturbed(house: House) -> str:
    fence = house.start(training=TRAINING)
    Runner(house.memory, fence).run()
    return fence.job_id


def test_workers_that_are_lost_cost_the_steps_since_the_checkpoint_and_nothing_else(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = undisturbed(house)
    groups = run(house, monkeypatch, lambda _: {17: die, 33: die})
    job = groups.plans[0].job
    assert (house.job(job).state, house.job(job).failure) == (JobState.SUCCEEDED, None)
    assert [each["step"] for each in attempt_of(house, job).groups] == [0, 10, 30]
    for name in ("train_loss", "val_loss", "lr"):
        assert house.points(job, name) == house.points(calm, name), name


def test_it_stops_where_more_are_granted_and_goes_on_with_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = undisturbed(house)

    def grant(fence: Fence, source: Watched) -> None:
        """What the dispatcher writes; the loop waits here until it has heard of it."""
        database = house.memory.database
        database.write(lambda session: attempts.grant(session, fence.job_id, fence.attempt, 2))
        while source.stop() != "resize":
            time.sleep(0.01)

    groups = run(house, monkeypatch, lambda fence: {15: partial(grant, fence)})
    job = groups.plans[0].job
    assert [(each["step"], each["workers"]) for each in attempt_of(house, job).groups] == [(0, 1), (15, 2)]
    assert house.job(job).state == JobState.SUCCEEDED
    assert house.points(job, "train_loss") == house.points(calm, "train_loss")
    assert attempt_of(house, job).granted == 2


def test_a_pause_while_workers_are_lost_is_a_pause(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def pause_and_die(fence: Fence, source: Watched) -> None:
        house.pause(fence.job_id)
        while source.stop() != "pause":
            time.sleep(0.01)
        die(source)

    groups = run(house, monkeypatch, lambda fence: {25: partial(pause_and_die, fence)})
    job = groups.plans[0].job
    assert house.job(job).state == JobState.PAUSED
    with house.memory.database.read() as session:
        resumable = attempts.latest_checkpoint(session, job)
    assert resumable is not None
    assert resumable.step == 20
