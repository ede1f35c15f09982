"""How attempts end: results, retries by category, waits, and jobs that could never start."""

import pytest
from sqlalchemy.orm import Session

from service import attempts, cluster, queue
from service.attempts import Failure, Fence
from service.attempts.endings import HEALTHY_S
from service.db.models import Attempt
from service.states import JobState
from tests.service.kit import CRASH, MISTAKE, NOW, PREEMPTED, Bench, later

RETRIES = {"infrastructure": 2, "preemption": 1, "user": 0}


def again(bench: Bench, at: float) -> Fence:
    claim = bench.claim(now=later(at))
    assert claim is not None
    bench.start(claim.fence, now=later(at))
    return claim.fence


def test_success(bench: Bench) -> None:
    fence = bench.running(training={"steps": 9})
    assert bench.finish(fence, "succeeded", result={"steps": 9}, now=later(5)) is JobState.SUCCEEDED
    job = bench.job(fence.job_id)
    assert (job.result, job.finished_at, job.progress_step, job.lease_until) == ({"steps": 9}, later(5), 9, None)
    assert [event.type for event in bench.events(fence.job_id)][-2:] == ["job.state", "end"]
    assert bench.read(lambda session: session.get_one(Attempt, (fence.job_id, 1))).outcome == "succeeded"


def test_a_users_mistake_ends_the_job(bench: Bench) -> None:
    fence = bench.running()
    assert bench.finish(fence, "failed", failure=MISTAKE) is JobState.FAILED
    job = bench.job(fence.job_id)
    assert job.failure == {
        "category": "user",
        "code": "not_finite",
        "message": "The loss is not finite.",
        "attempt": 1,
        "retryable": False,
    }


def test_a_users_mistake_is_tried_again_where_the_user_asks_for_it(bench: Bench) -> None:
    fence = bench.running(retries={"user": 1})
    assert bench.finish(fence, "failed", failure=MISTAKE) is JobState.QUEUED
    assert bench.finish(again(bench, 10), "failed", failure=MISTAKE) is JobState.FAILED


@pytest.mark.parametrize("intent", ["cancel", "pause"])
def test_a_mistake_that_ends_the_job_is_told_whatever_was_asked(bench: Bench, intent: str) -> None:
    fence = bench.running()
    bench.ask(intent, fence.job_id)
    bench.beat(fence)
    assert bench.finish(fence, "failed", failure=MISTAKE) is JobState.FAILED


def test_a_failure_without_a_reason_is_a_programming_error(bench: Bench) -> None:
    fence = bench.running()
    with pytest.raises(ValueError, match="must say why"):
        bench.finish(fence, "failed")
    assert bench.state(fence.job_id) is JobState.RUNNING


def test_each_category_has_its_own_budget_and_the_wait_doubles(bench: Bench) -> None:
    fence = bench.running(retries=RETRIES)
    assert bench.lose(fence) is JobState.QUEUED
    assert bench.claim(now=later(0.5)) is None
    second = again(bench, 1)
    assert bench.lose(second, PREEMPTED, now=later(10)) is JobState.QUEUED
    assert bench.claim(now=later(11.5)) is None
    third = again(bench, 12)
    assert bench.finish(third, "failed", failure=CRASH, now=later(20)) is JobState.QUEUED
    assert bench.claim(now=later(23.5)) is None
    fourth = again(bench, 24)
    assert bench.lose(fourth, CRASH, now=later(30)) is JobState.FAILED
    assert bench.path(fence.job_id)[2:6] == ["running", "recovering", "queued", "starting"]
    job = bench.job(fence.job_id)
    assert job.failure is not None
    assert (job.failure["code"], job.failure["attempt"]) == ("worker_died", 4)


def test_an_attempt_that_trained_for_long_is_no_part_of_a_crash_loop(bench: Bench) -> None:
    fence = bench.running()
    bench.lose(fence, CRASH, now=later(1))
    second = again(bench, 2)
    bench.lose(second, CRASH, now=later(2 + HEALTHY_S))
    assert bench.claim(now=later(3.5 + HEALTHY_S)) is not None


def test_infrastructure_that_cannot_be_mended_is_not_tried_again(bench: Bench) -> None:
    fence = bench.running()
    assert bench.lose(fence, Failure("infrastructure", "gone", "Its data is gone.", False)) is JobState.FAILED


def test_lost_before_it_ran_goes_straight_back(bench: Bench) -> None:
    fence = bench.claimed()
    assert bench.lose(fence) is JobState.QUEUED
    assert bench.path(fence.job_id) == ["queued", "starting", "queued"]
    outcome = bench.read(lambda session: session.get_one(Attempt, (fence.job_id, 1))).outcome
    assert outcome == "lost"


def test_waits_are_bounded() -> None:
    assert [attempts.backoff_s(n) for n in (1, 2, 3, 6, 7, 10_000)] == [1, 2, 4, 32, 60, 60]


def unschedulable(bench: Bench, at: float, *, fits: bool = False) -> list[str]:
    def work(session: Session) -> list[str]:
        why = queue.Reason("too_large", "needs 3 workers, the cluster has room for 2")
        stuck = {} if fits else {each.lane: why for each in queue.heads(session)}
        queue.mark_stuck(session, stuck, later(at))
        return queue.fail_overdue(session, stuck, later(at))

    return bench.write(work)


def test_what_never_fits_fails_after_its_time(bench: Bench) -> None:
    node = {"id": "n", "alive": True, "cpus": 2, "gpus": 0}
    bench.write(lambda session: cluster.write_snapshot(session, "d", {"nodes": [node]}, NOW))
    impatient = bench.submit(resources={"workers": 3}, queue_timeout_s=60).id
    patient = bench.submit(resources={"workers": 3}, queue_timeout_s=None).id
    first = bench.job(impatient).pending_reason
    assert first is not None
    assert unschedulable(bench, 0, fits=True) == []
    assert bench.job(impatient).pending_reason is None
    assert unschedulable(bench, 0) == []
    assert unschedulable(bench, 59) == []
    seen = bench.job(impatient).pending_reason
    assert seen is not None
    assert (seen["code"], seen["message"]) == ("too_large", "needs 3 workers, the cluster has room for 2")
    assert unschedulable(bench, 60) == [impatient]
    job = bench.job(impatient)
    assert job.failure is not None
    assert (job.state, job.failure["code"], job.pending_reason) == ("failed", "unschedulable", None)
    assert bench.state(patient) is JobState.QUEUED


def test_the_time_starts_anew_once_it_would_fit(bench: Bench) -> None:
    job_id = bench.submit(queue_timeout_s=60).id
    unschedulable(bench, 0)
    unschedulable(bench, 50, fits=True)
    assert bench.job(job_id).pending_reason is None
    assert unschedulable(bench, 70) == []
    assert unschedulable(bench, 131) == [job_id]


def test_a_patience_longer_than_any_calendar_is_patience(bench: Bench) -> None:
    job_id = bench.submit(queue_timeout_s=1e300).id
    assert unschedulable(bench, 0) == []
    assert bench.state(job_id) is JobState.QUEUED
