"""Claims, leases and fences: who may write, and that a late writer changes nothing."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from service import attempts, metrics
from service.attempts import Fence, LostLease
from service.db.models import Attempt, Checkpoint, Event, Job, MetricPoint, Transition
from service.states import JobState
from service.storage import Stored
from tests.service.kit import CRASH, LEASE_S, NOW, Bench, later

STORED = Stored("model/aa/" + "a" * 64, "a" * 64, 10)


def everything(bench: Bench) -> list[Any]:
    """All that a writer could have changed."""

    def work(session: Any) -> list[Any]:
        tables = (Job, Attempt, MetricPoint, Event, Checkpoint, Transition)
        return [
            sorted(tuple(map(str, row)) for row in session.execute(select(table.__table__)).all()) for table in tables
        ]

    return bench.read(work)


WRITES: dict[str, Callable[[Any, Fence], object]] = {
    "start": lambda session, fence: attempts.start(session, fence, start_step=5, pid=9, now=NOW),
    "read": attempts.read,
    "set_pid": lambda session, fence: attempts.set_pid(session, fence, 99),
    "heartbeat": lambda session, fence: attempts.heartbeat(session, fence, now=NOW, lease_s=99, step=9, eta_s=9),
    "metrics": lambda session, fence: attempts.add_metrics(session, fence, [metrics.Point("lr", 1, 0.5, NOW)]),
    "event": lambda session, fence: attempts.add_event(session, fence, "progress", "info", "late", {}),
    "warp": lambda session, fence: attempts.add_warp(session, fence, 0, 3),
    "checkpoint": lambda session, fence: attempts.publish_checkpoint(
        session, fence, step=1, stored=STORED, state=None, val_loss=None, is_best=True, model=None
    ),
    "succeeded": lambda session, fence: attempts.finish(session, fence, outcome="succeeded", result={}, now=NOW),
    "failed": lambda session, fence: attempts.finish(session, fence, outcome="failed", failure=CRASH, now=NOW),
    "cancelled": lambda session, fence: attempts.finish(session, fence, outcome="cancelled", now=NOW),
    "paused": lambda session, fence: attempts.finish(session, fence, outcome="paused", now=NOW),
}


def lost_to_another(bench: Bench) -> Fence:
    old = bench.running()
    bench.lose(old)
    claim = bench.claim(now=later(100))
    assert claim is not None
    bench.start(claim.fence)
    return old


def given_up(bench: Bench) -> Fence:
    """The dispatcher has given it up, and nobody has claimed the job yet."""
    old = bench.running()
    assert bench.lose(old) is JobState.QUEUED
    return old


def ended(bench: Bench) -> Fence:
    old = bench.running()
    bench.finish(old, "succeeded")
    return old


def paused(bench: Bench) -> Fence:
    old = bench.running()
    bench.finish(old, "paused")
    return old


def forged(bench: Bench) -> Fence:
    real = bench.running()
    return Fence(real.job_id, real.attempt, real.token + 1)


@pytest.mark.parametrize("how", [lost_to_another, given_up, ended, paused, forged])
def test_a_late_writer_changes_nothing(bench: Bench, how: Callable[[Bench], Fence]) -> None:
    fence = how(bench)
    before = everything(bench)
    for name, work in WRITES.items():
        with pytest.raises(LostLease):
            bench.write(lambda session, late=work: late(session, fence))
        assert everything(bench) == before, name
    bench.lose(fence)
    assert everything(bench) == before


def test_a_claim_gives_lease_token_and_attempt(bench: Bench) -> None:
    job = bench.submit()
    claim = bench.claim()
    assert claim is not None
    assert claim.fence == Fence(job.id, 1, 1)
    assert claim.submission_id == f"{job.id}-1"
    assert (claim.spec.family, claim.resolved.steps) == ("f", 300)
    stored = bench.job(job.id)
    assert (stored.state, stored.lease_until) == ("starting", later(LEASE_S))
    assert bench.claim() is None


def test_priority_then_age(bench: Bench) -> None:
    made = [bench.submit(priority=priority) for priority in (0, 5, 0, 5)]
    wanted = sorted(made, key=lambda job: (-job.priority, job.id))
    claims = [bench.claim() for _ in made]
    assert [claim.job.id for claim in claims if claim] == [job.id for job in wanted]


def test_what_does_not_fit_blocks_nobody(bench: Bench) -> None:
    for _ in range(5):
        bench.submit(priority=1, resources={"workers": 2})
    small = bench.submit()
    claim = bench.claim(fits=lambda spec: spec.resources.workers == 1)
    assert claim is not None
    assert claim.job.id == small.id
    assert bench.claim(fits=lambda spec: spec.resources.workers == 1) is None


def test_start_is_once(bench: Bench) -> None:
    fence = bench.claimed()
    bench.start(fence, step=4, now=later(1))
    bench.start(fence, step=9, now=later(2))
    job = bench.job(fence.job_id)
    assert (job.state, job.started_at, job.progress_step) == ("running", later(1), 4)
    assert bench.path(fence.job_id) == ["queued", "starting", "running"]


def test_a_heartbeat_extends_the_lease(bench: Bench) -> None:
    fence = bench.running()
    assert bench.beat(fence, now=later(20), step=12) is None
    job = bench.job(fence.job_id)
    assert (job.lease_until, job.progress_step, job.eta_s) == (later(20 + LEASE_S), 12, 1.0)
    assert bench.read(attempts.living) == [attempts.Living(fence, later(20 + LEASE_S), None)]


def test_a_lease_that_was_extended_meanwhile_is_not_taken(bench: Bench) -> None:
    fence = bench.running()
    bench.beat(fence, now=later(20))
    seen = bench.job(fence.job_id).lease_until
    bench.beat(fence, now=later(25))
    assert bench.lose(fence, now=later(40), unless_renewed=seen) is JobState.RUNNING
    seen = bench.job(fence.job_id).lease_until
    assert bench.lose(fence, now=later(51), unless_renewed=seen) is JobState.QUEUED


def test_live_attempts_are_what_a_dispatcher_comes_back_to(bench: Bench) -> None:
    fence, gone = bench.running(), bench.running()
    bench.finish(gone, "succeeded")
    bench.write(lambda session: attempts.set_pid(session, fence, 42))
    bench.ask("cancel", fence.job_id)
    (found,) = bench.read(attempts.live)
    assert (found.fence, found.pid, found.intent, found.submission_id) == (fence, 42, "cancel", f"{fence.job_id}-1")


def test_versions_are_recorded_and_changes_told(bench: Bench) -> None:
    fence = bench.running()
    for step, version in ((0, 3), (50, 3), (60, 4)):
        bench.write(lambda session, at=step, to=version: attempts.add_warp(session, fence, at, to))
    row = bench.read(lambda session: session.get_one(Attempt, (fence.job_id, 1)))
    assert row.warps == [{"step": 0, "version": 3}, {"step": 60, "version": 4}]
    told = [event.data for event in bench.events(fence.job_id) if event.type == "warp.changed"]
    assert told == [{"step": 60, "from": 3, "to": 4}]


def test_a_basis_of_its_own_is_recorded_as_such(bench: Bench) -> None:
    fence = bench.running()
    bench.write(lambda session: attempts.add_warp(session, fence, 0, None, "data"))
    row = bench.read(lambda session: session.get_one(Attempt, (fence.job_id, 1)))
    assert row.warps == [{"step": 0, "version": None, "source": "data"}]
    assert not [event for event in bench.events(fence.job_id) if event.type == "warp.changed"]


def test_running_time_leaves_pauses_out(bench: Bench) -> None:
    fence = bench.running()
    bench.finish(fence, "paused", now=later(10))
    bench.ask("resume", fence.job_id, later(500))
    claim = bench.claim(now=later(600))
    assert claim is not None
    bench.start(claim.fence, now=later(700))
    assert bench.read(lambda session: attempts.running_seconds(session, fence.job_id, later(705))) == 15


def test_concurrent_claims_never_take_a_job_twice(bench: Bench) -> None:
    jobs = {bench.submit().id for _ in range(12)}
    barrier = threading.Barrier(6)

    def claimer() -> list[Fence]:
        barrier.wait()
        taken = []
        while claim := bench.claim():
            taken.append(claim.fence)
        return taken

    with ThreadPoolExecutor(6) as pool:
        fences = [fence for future in [pool.submit(claimer) for _ in range(6)] for fence in future.result()]
    assert {fence.job_id for fence in fences} == jobs
    assert len(fences) == len(jobs)
    assert bench.read(lambda session: session.scalar(select(func.count()).select_from(Attempt))) == len(jobs)


def test_a_claim_and_a_cancel_at_once_agree(bench: Bench) -> None:
    for _ in range(6):
        job_id = bench.submit().id
        barrier = threading.Barrier(2)

        def both(work: Callable[[], Any], gate: threading.Barrier = barrier) -> Any:
            gate.wait()
            return work()

        with ThreadPoolExecutor(2) as pool:
            claim = pool.submit(both, bench.claim)
            pool.submit(both, lambda id_=job_id: bench.ask("cancel", id_)).result()
        found = claim.result()
        if found is None:
            assert bench.path(job_id) == ["queued", "cancelled"]
        else:
            assert bench.beat(found.fence) == "cancel"
            assert bench.finish(found.fence, "cancelled") is JobState.CANCELLED
