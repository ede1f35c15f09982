"""Quotas: what is refused at submission and upload, and what admission leaves in the queue."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from threading import Barrier

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from service import attempts, jobs, projects, queue, quotas
from service.access import COMMAND, Caller
from service.attempts import Claim
from service.db.models import Checkpoint, Dataset, Job
from service.errors import QuotaExceeded
from service.ids import new_id
from service.limits import Limits
from service.spec import JobSpec, read_stored
from tests.service.kit import LEASE_S, NOW, PROJECT, Bench, later

GPU = {"workers": 2, "gpus_per_worker": 1}
OPERATOR = Caller(PROJECT, COMMAND)


def submitting(bench: Bench, defaults: Limits, **fields: object) -> Job:
    spec = bench.spec(bench.ready or bench.dataset(), **fields)
    bench.write(lambda session: quotas.check_submit(session, PROJECT, spec, defaults, NOW))
    return bench.submit(**fields)


def admitted(bench: Bench, defaults: Limits, now: datetime = NOW) -> Claim | None:
    return bench.write(
        lambda session: attempts.claim_next(
            session,
            now=now,
            lease_s=LEASE_S,
            launcher="process",
            fits=lambda _: True,
            may_start=quotas.admission(session, defaults, now),
        )
    )


def why_not(bench: Bench, limits: Limits, **fields: object) -> str | None:
    spec = bench.spec(bench.ready or bench.dataset(), **fields)
    return bench.read(lambda session: quotas.admission(session, limits, later(1000)).why_not(PROJECT, spec))


def used_gpus(bench: Bench, now: datetime) -> dict[str, float]:
    return bench.read(lambda session: quotas.gpu_seconds(session, now))


def test_queued_jobs(bench: Bench) -> None:
    limits = Limits(queued_jobs=2)
    first = submitting(bench, limits)
    submitting(bench, limits)
    with pytest.raises(QuotaExceeded, match="2 queued jobs") as refused:
        submitting(bench, limits)
    assert refused.value.retry_after_s > 0
    bench.ask("cancel", first.id)
    submitting(bench, limits)


def test_running_jobs_wait_in_the_queue(bench: Bench) -> None:
    for _ in range(2):
        bench.submit()
    other = bench.submit()
    moved = {"project": "omega", "lane": queue.lane_of("omega", read_stored(other.spec).resources)}
    bench.write(lambda session: session.execute(update(Job).where(Job.id == other.id).values(moved)))
    limits = Limits(running_jobs=1)
    first = admitted(bench, limits)
    assert first is not None
    second = admitted(bench, limits)  # the project's next job is passed over, and blocks nobody
    assert second is not None
    assert second.job.id == other.id
    assert admitted(bench, limits) is None
    assert bench.read(lambda session: quotas.room_to_run(session, PROJECT, limits)) == 0
    assert why_not(bench, limits) == "waits until another job of its project ends: 1 may run at once"
    bench.start(first.fence)
    bench.finish(first.fence, "succeeded")
    assert bench.read(lambda session: quotas.room_to_run(session, PROJECT, limits)) == 1
    assert admitted(bench, limits) is not None


def test_a_projects_own_limits_hold_at_admission(bench: Bench) -> None:
    bench.submit()
    set_(bench, running_jobs=0)
    assert admitted(bench, Limits()) is None
    set_(bench, running_jobs=None)
    assert admitted(bench, Limits(running_jobs=0)) is not None
    assert bench.read(lambda session: quotas.room_to_run(session, PROJECT, Limits())) is None


def set_(bench: Bench, **changes: int | None) -> None:
    bench.write(lambda session: projects.set_limits(session, OPERATOR, changes, reset=set(), now=NOW))


def test_limits_are_set_and_given_back(bench: Bench) -> None:
    defaults = Limits(running_jobs=1, queued_jobs=2)
    read: Callable[[], Limits] = lambda: bench.read(lambda session: projects.limits(session, PROJECT, defaults))  # noqa: E731
    assert read() == defaults
    set_(bench, running_jobs=7, storage_bytes=5)
    assert read() == Limits(running_jobs=7, queued_jobs=2, storage_bytes=5)
    bench.write(lambda session: projects.set_limits(session, OPERATOR, {}, reset={"running_jobs"}, now=NOW))
    assert read() == Limits(running_jobs=1, queued_jobs=2, storage_bytes=5)


def test_gpu_seconds_are_what_attempts_reserve_in_this_month(bench: Bench) -> None:
    bench.submit(resources=GPU)
    fence = bench.running(resources=GPU, priority=1)
    assert used_gpus(bench, later(10)) == {PROJECT: 20.0}
    bench.finish(fence, "succeeded", now=later(30))
    assert used_gpus(bench, later(1000)) == {PROJECT: 60.0}
    assert used_gpus(bench, datetime(2026, 2, 1, tzinfo=UTC)) == {}
    limits = Limits(gpu_seconds=60)
    assert admitted(bench, limits, later(1000)) is None
    assert "the next month: its project has used 60 of 60 GPU-seconds" in (why_not(bench, limits, resources=GPU) or "")
    assert why_not(bench, limits) is None
    spec = bench.spec(bench.ready or bench.dataset(), resources=GPU)
    with pytest.raises(QuotaExceeded, match="60 GPU-seconds") as refused:
        bench.write(lambda session: quotas.check_submit(session, PROJECT, spec, limits, later(1000)))
    assert refused.value.retry_after_s == (datetime(2026, 2, 1, tzinfo=UTC) - later(1000)).total_seconds()
    submitting(bench, limits)  # what needs no GPU goes on
    assert admitted(bench, Limits(gpu_seconds=61), later(1000)) is not None


def test_an_elastic_job_is_charged_for_what_it_had_when(bench: Bench) -> None:
    fence = bench.running(resources={**GPU, "workers": {"min": 1, "max": 4}})
    each = GPU["gpus_per_worker"]
    for seconds, workers in ((5, 1), (10, 3), (20, 2)):
        begin = partial(attempts.begin_group, fence=fence, step=seconds, workers=workers, now=later(seconds))
        bench.write(begin)
    assert used_gpus(bench, later(40)) == {PROJECT: (10 * 1 + 10 * 3 + 20 * 2) * each}


def test_lost_attempts_count_until_they_were_given_up_and_a_deleted_job_gives_nothing_back(bench: Bench) -> None:
    """What lies between two attempts holds no GPU."""
    job = bench.submit(resources=GPU).id
    for begin in (0, 100):
        claim = admitted(bench, Limits(), later(begin))
        assert claim is not None
        bench.lose(claim.fence, now=later(begin + 10))
    assert used_gpus(bench, later(1000)) == {PROJECT: 2 * 10 * 2.0}
    bench.ask("cancel", job)
    bench.write(lambda session: jobs.delete(session, PROJECT, job, later(200)))
    assert used_gpus(bench, later(1000)) == {PROJECT: 2 * 10 * 2.0}


def test_a_job_without_gpus_uses_none(bench: Bench) -> None:
    bench.running()
    assert used_gpus(bench, later(10)) == {}


def stored(bench: Bench, size: int) -> str:
    row = Dataset(id=new_id("ds"), project=PROJECT, state="ready", options={}, uploaded=True, size=size, created_at=NOW)
    bench.write(lambda session: session.add(row))
    return row.id


def test_storage_counts_what_is_not_deleted(bench: Bench) -> None:
    room: Callable[[], int | None] = lambda: bench.read(  # noqa: E731
        lambda session: quotas.storage_room(session, PROJECT, Limits(storage_bytes=100))
    )
    dataset = stored(bench, 60)
    weights = Checkpoint(id=new_id("ckpt"), project=PROJECT, path="p", sha256="c" * 64, size=30, created_at=NOW)
    bench.write(lambda session: session.add(weights))
    others = Dataset(id=new_id("ds"), project="omega", state="ready", options={}, uploaded=True, size=9, created_at=NOW)
    bench.write(lambda session: session.add(others))
    assert room() == 10
    bench.write(lambda session: setattr(session.get_one(Dataset, dataset), "deleted_at", NOW))
    assert room() == 70


def test_a_full_storage_takes_no_more(bench: Bench) -> None:
    limits = Limits(storage_bytes=100)

    def adding(size: int) -> None:
        bench.write(lambda session: quotas.check_storage(session, PROJECT, size, limits, NOW))

    stored(bench, 90)
    adding(10)
    with pytest.raises(QuotaExceeded, match="90 of the 100 bytes"):
        adding(11)
    spec: JobSpec = bench.spec(bench.ready or bench.dataset())
    bench.write(lambda session: quotas.check_submit(session, PROJECT, spec, limits, NOW))
    stored(bench, 10)
    with pytest.raises(QuotaExceeded):
        bench.write(lambda session: quotas.check_submit(session, PROJECT, spec, limits, NOW))


def test_of_two_submissions_at_once_one_gets_the_last_place(bench: Bench) -> None:
    """Both count only when the other has committed or given up: each waits at a barrier before it begins."""
    limits, together = Limits(queued_jobs=1), Barrier(2)
    bench.ready = bench.dataset()

    def submit(_: int) -> bool:
        spec = bench.spec(bench.ready or bench.dataset())
        together.wait(30)

        def work(session: Session) -> None:
            quotas.check_submit(session, PROJECT, spec, limits, NOW)
            assert bench.ready is not None
            jobs.submit(session, PROJECT, spec, bench.ready, jobs.Limits())

        try:
            bench.write(work)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(submit, range(2))) == [False, True]
