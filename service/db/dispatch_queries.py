"""SELECTs of the dispatcher: what it looks at many times a second, before it opens a transaction that writes."""

from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.db.models import Job
from service.states import JobState


def waiting(session: Session, now: datetime) -> tuple[int, str | None]:
    """How many jobs may be claimed, and the newest of them; as long as both stay, the queue is most likely the same."""
    statement = select(func.count(), func.max(Job.id)).where(
        Job.state == JobState.QUEUED, Job.intent.is_(None), or_(Job.not_before.is_(None), Job.not_before <= now)
    )
    count, newest = session.execute(statement).one()
    return count, newest


def leases(session: Session) -> list[tuple[str, int, int, datetime | None, str | None, str]]:
    """(job, attempt, token, lease, intent, state) of all attempts that own a job."""
    columns = (Job.id, Job.attempt, Job.token, Job.lease_until, Job.intent, Job.state)
    with_attempt = [state for state in JobState if state.has_attempt]
    rows = session.execute(select(*columns).where(Job.state.in_(with_attempt)).order_by(Job.id))
    return [(job, attempt, token, lease, intent, state) for job, attempt, token, lease, intent, state in rows]
