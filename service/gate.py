"""The one gate through which a job's state changes.

Each change is in the table of `service.states`, leaves a row in `transitions` and an event `job.state`, and a terminal
one the event `end`. When a job leaves the states in which an attempt may be alive its fencing token grows: whatever
that attempt still sends changes nothing. The job must have been read by `job_queries.locked`.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from service import events, states
from service.db.models import Job, Transition
from service.states import JobState


def change_state(
    session: Session, job: Job, target: JobState, reason: str, message: str = "", *, now: datetime
) -> None:
    """Moves a locked job to `target`. Raises InvalidState where the table does not allow it."""
    source = JobState(job.state)
    states.check(source, target)
    job.state = target
    if target is JobState.RUNNING and job.started_at is None:
        job.started_at = now
    if source.has_attempt and not target.has_attempt:
        job.token += 1
        job.lease_until = None
        job.eta_s = None
    if target is JobState.QUEUED:
        job.queued_at = now
    else:
        job.pending_reason = job.stuck_since = job.due_since = None
    if target is JobState.PAUSED or target.is_terminal:
        job.intent = job.not_before = None
    if target.is_terminal:
        job.finished_at = now
    session.add(Transition(job_id=job.id, source=source, target=target, reason=reason, message=message, at=now))
    _tell(session, job, source, target, reason, message, now)


def enter(session: Session, job: Job, now: datetime) -> None:
    """Records that a new job is queued."""
    session.add(Transition(job_id=job.id, source=None, target=job.state, reason="submitted", at=now))
    session.flush()
    _tell(session, job, None, JobState(job.state), "submitted", "", now)


def pass_through(
    session: Session, job: Job, via: JobState, target: JobState, reason: str, message: str = "", *, now: datetime
) -> None:
    """To `target`, by way of `via` where the table has no direct way."""
    source = JobState(job.state)
    if source is not via and target not in states.ALLOWED[source]:
        change_state(session, job, via, reason, message, now=now)
    change_state(session, job, target, reason, message, now=now)


def _tell(
    session: Session, job: Job, source: JobState | None, target: JobState, reason: str, message: str, now: datetime
) -> None:
    failed = target is JobState.FAILED
    data = {"from": source, "to": target, "reason": reason}
    level: events.Level = "error" if failed else "info"
    events.add(session, job.id, "job.state", f"{target}: {message or reason}", data, level=level, now=now)
    if target.is_terminal:
        events.add(session, job.id, "end", data={"state": target}, now=now)
