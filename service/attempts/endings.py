"""How attempts end, and what becomes of their jobs then.

An attempt ends once: by its own word (`finish`), or by the dispatcher's (`release_lost`) when it ended without one.
A stored intent is obeyed first; then the budget of the failure's category decides whether the job is tried again.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy.orm import Session

from service import gate, starts
from service.attempts.fence import Failure, Fence, close, owned, owns
from service.db import job_queries, queue_queries
from service.db.models import Attempt, Job
from service.spec import read_stored
from service.states import JobState

Outcome = Literal["succeeded", "failed", "cancelled", "paused"]

HEALTHY_S = 60.0
"""An attempt that trained for so long was no part of a crash loop."""


def backoff_s(failures: int) -> float:
    """Seconds before the try after the n-th failure in a row: 1, 2, 4, … 60."""
    return min(queue_queries.LONGEST_WAIT.total_seconds(), 2.0 ** min(failures - 1, 10))


def failures_in_row(attempts: Sequence[Attempt]) -> int:
    """How many of the last attempts failed soon after they had begun, at least 1; `attempts` are oldest first."""
    count = 0
    for row in reversed(attempts):
        if row.failure is None or row.finished_at is None:
            break
        lived = (row.finished_at - row.started_at).total_seconds() if row.started_at else 0.0
        if lived >= HEALTHY_S:
            break
        count += 1
    return max(1, count)


def finish(
    session: Session,
    fence: Fence,
    *,
    outcome: Outcome,
    result: dict[str, Any] | None = None,
    failure: Failure | None = None,
    now: datetime,
) -> JobState:
    """The attempt's own last word; what the job is then. Raises LostLease: then its word does not count.

    `failed` takes a `failure`. A paused attempt whose job is meanwhile to be cancelled is cancelled.
    """
    job = owned(session, fence)
    close(session, fence, outcome, failure, now)
    if result is not None:
        job.result = result
    if outcome == "failed":
        if failure is None:
            raise ValueError("an attempt that failed must say why")
        _after_failure(session, job, failure, now)
    elif outcome == "succeeded":
        job.progress_step = job.progress_of
        starts.offer(session, job, now)
        gate.change_state(session, job, JobState.SUCCEEDED, "finished", now=now)
    elif outcome == "paused" and job.intent != "cancel":
        gate.pass_through(session, job, JobState.PAUSING, JobState.PAUSED, "paused", now=now)
    else:
        gate.pass_through(session, job, JobState.CANCELLING, JobState.CANCELLED, "cancelled", now=now)
    session.flush()
    return JobState(job.state)


def release_lost(
    session: Session, fence: Fence, *, now: datetime, failure: Failure, unless_renewed: datetime | None = None
) -> JobState:
    """Ends an attempt that ended without a word or lost its lease; what the job is then.

    Nothing happens where the attempt has spoken meanwhile, or where its lease is not the one given any more.
    """
    job = job_queries.locked(session, fence.job_id)
    if job is None:
        raise LookupError(f"There is no job {fence.job_id}.")
    if not owns(fence, job) or (unless_renewed is not None and job.lease_until != unless_renewed):
        return JobState(job.state)
    close(session, fence, "lost", failure, now)
    _after_failure(session, job, failure, now)
    session.flush()
    return JobState(job.state)


def _after_failure(session: Session, job: Job, failure: Failure, now: datetime) -> None:
    tried = job_queries.attempts(session, job.id)
    failures = [row.failure for row in tried if row.failure]
    used = sum(1 for each in failures if each["category"] == failure.category)
    budget = int(getattr(read_stored(job.spec).retries, failure.category))
    # A failure that would be tried again gives way to an intent; one that ends the job is what the user must know.
    may_retry = failure.retryable or (failure.category == "user" and used <= budget)
    if may_retry and (job.intent == "cancel" or job.state == JobState.CANCELLING):
        gate.pass_through(session, job, JobState.CANCELLING, JobState.CANCELLED, "cancelled", failure.message, now=now)
    elif may_retry and (job.intent == "pause" or job.state == JobState.PAUSING):
        gate.pass_through(session, job, JobState.PAUSING, JobState.PAUSED, "paused", failure.message, now=now)
    elif may_retry and used <= budget:
        again = f"{failure.message} (retry {used} of {budget} for {failure.category} failures)"
        _retry(session, job, failure.code, again, now=now, wait_s=backoff_s(failures_in_row(tried)))
    else:
        job.failure = failure.as_json(job.attempt)
        gate.change_state(session, job, JobState.FAILED, failure.code, failure.message, now=now)


def _retry(session: Session, job: Job, reason: str, message: str, *, now: datetime, wait_s: float) -> None:
    """Back into the queue, to be claimed after a wait; an attempt that never ran leads there directly."""
    job.not_before = now + timedelta(seconds=wait_s)
    if session.get_one(Attempt, (job.id, job.attempt)).started_at is not None:
        gate.change_state(session, job, JobState.RECOVERING, reason, message, now=now)
    gate.change_state(session, job, JobState.QUEUED, reason, message, now=now)
