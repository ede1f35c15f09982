"""What ties an attempt to its job: the fencing token. It grows with every claim and every end of an attempt."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from service.db import job_queries
from service.db.models import Attempt, Job
from service.states import JobState

Intent = Literal["cancel", "pause"]
Category = Literal["user", "infrastructure", "preemption"]


class LostLease(Exception):
    """The attempt does not own its job any more: another one does, or the job has ended. Stop, and write nothing."""


@dataclass(frozen=True)
class Fence:
    """Names one attempt; good for writing as long as `token` is its job's current one."""

    job_id: str
    attempt: int
    token: int


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed. `retryable`: another attempt could do better; then its category's budget decides."""

    category: Category
    code: str
    message: str
    retryable: bool

    def as_json(self, attempt: int | None) -> dict[str, Any]:
        return {
            "category": self.category,
            "code": self.code,
            "message": self.message,
            "attempt": attempt,
            "retryable": self.retryable,
        }


def owned(session: Session, fence: Fence) -> Job:
    """The job, locked, if the attempt still owns it; raises LostLease if not.

    The lock lasts to the end of the transaction, so everything written after this call is under the token too.
    """
    job = job_queries.locked(session, fence.job_id)
    if job is None or not owns(fence, job):
        raise LostLease(f"Attempt {fence.attempt} of {fence.job_id} has lost its job.")
    return job


def owns(fence: Fence, job: Job) -> bool:
    same = (job.attempt, job.token) == (fence.attempt, fence.token)
    return same and JobState(job.state).has_attempt


def row_of(session: Session, fence: Fence) -> Attempt:
    return session.get_one(Attempt, (fence.job_id, fence.attempt))


def close(session: Session, fence: Fence, outcome: str, failure: Failure | None, now: datetime) -> None:
    """Ends the attempt's own row. The caller owns the job."""
    row = row_of(session, fence)
    row.outcome, row.finished_at = outcome, now
    row.failure = failure.as_json(fence.attempt) if failure else None
    session.flush()
