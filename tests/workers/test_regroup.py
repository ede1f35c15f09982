"""From one group of workers to the next: when, with how many, from where; on both databases."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from service import attempts, clock, events, jobs
from service.attempts import Fence
from service.db.models import Attempt, Checkpoint
from service.pages import PageRequest
from service.states import JobState
from service.storage import Stored
from tests.workers.jobs import House
from tests.workers.plans import Learner, Listener
from workers.failures import Cause
from workers.group import Group
from workers.loading import load
from workers.plan import Plan
from workers.policies import Node
from workers.regroup import MOST_IN_VAIN, Regroup, start_step
from workers.reporting import Outcome, Saved, Stop
from workers.runner import RECORDED, Runner
from workers.train import train

LOST = Cause("infrastructure", "worker_failed", "A worker was lost.")
UNPLACED = Cause("infrastructure", "not_placed", "No place.")
RESIZE = Outcome(5, 0.1, stopped="resize")


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(database_url, tmp_path)
    yield built
    built.memory.database.dispose()


def begun(house: House, workers: int, least: int = 1) -> tuple[Fence, Plan]:
    """An attempt whose first group has so many workers."""
    resources = {"workers": {"min": least, "max": 4}, "cpus_per_worker": 1}
    fence = house.start(resources=resources, training={"checkpoint_every": 5})
    job, attempt = fence.job_id, fence.attempt
    house.memory.database.write(lambda session: attempts.grant(session, job, attempt, workers))
    plan = load(house.memory, fence)
    assert plan.workers == workers

    def begin(session: Session) -> None:
        attempts.start(session, fence, start_step=0, pid=1, now=clock.now())
        attempts.begin_group(session, fence, step=0, workers=workers, now=clock.now())

    house.memory.database.write(begin)
    return fence, plan


def saved(plan: Plan, step: int) -> Saved:
    """The checkpoint of a real run that was told to stop there."""
    listener = Listener("resize", step)
    train(plan, Group(), listener, Learner())
    found = listener.saved[-1]
    assert found.step == step
    return found


def nobody() -> Stop | None:
    return None


def regroup(house: House, fence: Fence, plan: Plan, cpus: float, patience_s: float = 0) -> Regroup:
    return Regroup(house.memory, fence, plan, lambda: [Node("a", cpus, 0)], patience_s)


def row(house: House, fence: Fence) -> Attempt:
    with house.memory.database.read() as session:
        return jobs.attempts(session, fence.job_id)[-1]


def test_lost_workers_are_made_up_for_by_what_is_left(house: House) -> None:
    fence, plan = begun(house, 4)
    newest = saved(plan, 10)
    following = regroup(house, fence, plan, 3).after(LOST, newest, nobody)
    assert isinstance(following, Plan)
    assert (following.workers, following.group, start_step(following)) == (3, 1, 10)
    kept = row(house, fence)
    assert (kept.granted, kept.workers) == (3, 3)
    assert [(each["step"], each["workers"]) for each in kept.groups] == [(0, 4), (10, 3)]
    with house.memory.database.read() as session:
        told = events.list_(session, fence.job_id, PageRequest(limit=100)).items
    assert [event.type for event in told][-2:] == ["warning", "progress"]
    assert told[-1].data["workers"] == 3
    assert told[-1].data["before"] == 4


def test_a_resize_goes_on_where_it_stopped_with_what_was_granted(house: House) -> None:
    fence, plan = begun(house, 1)
    job, attempt = fence.job_id, fence.attempt
    house.memory.database.write(lambda session: attempts.grant(session, job, attempt, 3))
    following = regroup(house, fence, plan, 8).after(RESIZE, saved(plan, 7), nobody)
    assert isinstance(following, Plan)
    assert (following.workers, start_step(following)) == (3, 7)


def test_others_keep_what_they_have(house: House) -> None:
    fence, plan = begun(house, 3)
    house.start(resources={"workers": 2, "cpus_per_worker": 1})
    following = regroup(house, fence, plan, 4).after(LOST, None, nobody)
    assert isinstance(following, Plan)
    assert following.workers == 2
    assert start_step(following) == 0


def test_a_group_that_was_not_placed_is_tried_with_one_fewer(house: House) -> None:
    fence, plan = begun(house, 3)
    again = regroup(house, fence, plan, 8)
    sizes = []
    ending, newest = UNPLACED, None
    for _ in range(2):
        following = again.after(ending, newest, nobody)
        assert isinstance(following, Plan)
        sizes.append(following.workers)
    assert sizes == [2, 1]


def test_without_room_for_the_fewest_the_attempt_ends_and_is_tried_again(house: House) -> None:
    fence, plan = begun(house, 2, least=2)
    assert regroup(house, fence, plan, 1).after(LOST, None, nobody) == LOST
    resized = regroup(house, fence, plan, 1).after(RESIZE, None, nobody)
    assert isinstance(resized, Cause)
    assert resized.retryable


def test_what_the_user_wants_goes_first(house: House) -> None:
    fence, plan = begun(house, 2)
    ended = regroup(house, fence, plan, 4).after(LOST, saved(plan, 5), lambda: "pause")
    assert ended == Outcome(5, 0.0, stopped="pause")


@pytest.mark.parametrize(
    "ending",
    [Outcome(20, 1.0, final={"val_loss": 1.0}), Outcome(3, 1.0, stopped="cancel"), Cause("user", "not_finite", "x")],
)
def test_every_other_end_stands(house: House, ending: Outcome | Cause) -> None:
    fence, plan = begun(house, 2)
    assert regroup(house, fence, plan, 4).after(ending, None, nobody) == ending


def test_a_job_that_is_not_elastic_has_one_group(house: House) -> None:
    fence = house.start(resources={"workers": 2})
    plan = load(house.memory, fence)
    assert plan.workers == 2
    assert regroup(house, fence, plan, 4).after(LOST, None, nobody) == LOST


def test_groups_that_get_no_further_are_not_begun_for_ever(house: House) -> None:
    fence, plan = begun(house, 2)
    again, newest = regroup(house, fence, plan, 4), saved(plan, 5)
    ends = [again.after(LOST, newest, nobody) for _ in range(MOST_IN_VAIN + 1)]
    assert [isinstance(each, Plan) for each in ends] == [True] * MOST_IN_VAIN + [False]
    further = replace(saved(plan, 10), step=6)
    assert isinstance(again.after(LOST, further, nobody), Plan), "one that got further is a new beginning"


@pytest.mark.parametrize(("patience_s", "kept"), [(15.0, [7]), (0.3, [])])
def test_a_pause_before_the_next_group_begins_waits_for_the_checkpoint_under_way(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float, kept: list[int]
) -> None:
    """Nobody hears a stop while workers are being placed, so the attempt is ended at once; but not before its last
    checkpoint is stored, unless that takes longer than its grace."""
    house = House.build(database_url, tmp_path, grace_s=patience_s)
    fence, plan = begun(house, 2)
    newest, put = saved(plan, 7), house.memory.storage.put
    stores, codes = threading.Event(), queue.Queue[int]()

    def slowly(kind: str, data: bytes) -> Stored:
        stores.wait(20)
        return put(kind, data)

    def leave(code: int) -> None:
        codes.put(code)
        runner._recorder._over.set()  # the process would be gone

    monkeypatch.setattr(house.memory.storage, "put", slowly)
    runner = Runner(house.memory, fence, leave=leave)
    runner._book.take([newest])
    runner._book.go_on(plan)
    runner._oversight.needs_begin = True
    runner._recorder.start()
    house.pause(fence.job_id)
    if kept:
        with pytest.raises(queue.Empty):
            codes.get(timeout=0.5)
        stores.set()
    assert codes.get(timeout=20) == RECORDED
    stores.set()
    runner._recorder.close()
    runner._book.close()
    assert house.job(fence.job_id).state == JobState.PAUSED
    with house.memory.database.read() as session:
        steps = session.scalars(select(Checkpoint.step).where(Checkpoint.job_id == fence.job_id)).all()
    assert list(steps) == kept
    house.memory.database.dispose()
