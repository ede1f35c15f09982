"""SELECTs over jobs, their attempts and transitions.

Whoever changes a job reads it through `locked`: PostgreSQL then holds the row until the transaction ends, and SQLite
has one writer anyway. Locks are taken job first, then what belongs to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Select, exists, func, or_, select, update
from sqlalchemy.orm import Session

from service.db.models import Attempt, Family, Job, JobLabel, Transition
from service.states import JobState

QUEUE_PAGE = 100
_WITH_ATTEMPT = [state for state in JobState if state.has_attempt]


def visible(project: str) -> Select[Job]:
    return select(Job).where(Job.project == project, Job.deleted_at.is_(None))


def locked(session: Session, job_id: str) -> Job | None:
    """The job as it is now, locked against everybody else until the transaction ends."""
    statement = select(Job).where(Job.id == job_id).with_for_update(key_share=True)
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


def filtered(
    project: str, states: Sequence[str], families: Sequence[str], metadata: Mapping[str, Sequence[str]]
) -> Select[Job]:
    """Visible jobs in any of `states`, of any of `families`, that have for each key one of its values."""
    statement = visible(project)
    if states:
        statement = statement.where(Job.state.in_(states))
    if families:
        named = select(Family.id).where(Family.project == project, Family.name.in_(families))
        statement = statement.where(Job.family_id.in_(named))
    for key, values in metadata.items():
        label = exists().where(JobLabel.job_id == Job.id, JobLabel.key == key, JobLabel.value.in_(values))
        statement = statement.where(label)
    return statement


@dataclass(frozen=True)
class Candidate:
    """What a claimer sees of a queued job before it has it."""

    id: str
    priority: int
    token: int
    project: str
    spec: dict[str, Any]


def queue_page(session: Session, now: datetime, after: Candidate | None) -> list[Candidate]:
    """The next jobs that may be claimed, in the order in which they should be."""
    statement = select(Job.id, Job.priority, Job.token, Job.project, Job.spec).where(
        Job.state == JobState.QUEUED, Job.intent.is_(None), or_(Job.not_before.is_(None), Job.not_before <= now)
    )
    if after is not None:
        same = (Job.priority == after.priority) & (Job.id > after.id)
        statement = statement.where(or_(Job.priority < after.priority, same))
    rows = session.execute(statement.order_by(Job.priority.desc(), Job.id).limit(QUEUE_PAGE))
    return [Candidate(*row) for row in rows]


def take(session: Session, candidate: Candidate, lease_until: datetime) -> Job | None:
    """The claim: one conditional UPDATE, which of several claimers only one can win. The job, if this one did."""
    still_queued = (Job.state == JobState.QUEUED) & Job.intent.is_(None) & (Job.token == candidate.token)
    statement = (
        update(Job)
        .where(Job.id == candidate.id, still_queued)
        .values(token=Job.token + 1, attempt=Job.attempt + 1, lease_until=lease_until, not_before=None)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return session.get_one(Job, candidate.id, populate_existing=True) if result.rowcount == 1 else None


def with_attempt(session: Session) -> Sequence[Job]:
    return session.scalars(select(Job).where(Job.state.in_(_WITH_ATTEMPT)).order_by(Job.id)).all()


def expired(session: Session, now: datetime) -> Sequence[Job]:
    statement = select(Job).where(Job.state.in_(_WITH_ATTEMPT), Job.lease_until < now).order_by(Job.id)
    return session.scalars(statement).all()


def idle_with_intent(session: Session) -> Sequence[str]:
    """Jobs that are to be cancelled or paused and have no attempt that could obey."""
    idle = [JobState.QUEUED, JobState.PAUSED, JobState.RECOVERING]
    return session.scalars(select(Job.id).where(Job.state.in_(idle), Job.intent.is_not(None)).order_by(Job.id)).all()


def queued(session: Session) -> Sequence[Job]:
    return session.scalars(select(Job).where(Job.state == JobState.QUEUED).order_by(Job.id)).all()


def count_by_state(session: Session, project: str | None = None) -> dict[JobState, int]:
    """Jobs that are not deleted: everybody's, or those of one project."""
    statement = select(Job.state, func.count()).where(Job.deleted_at.is_(None)).group_by(Job.state)
    rows = session.execute(statement if project is None else statement.where(Job.project == project))
    return {JobState(state): count for state, count in rows}


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()


def transitions(session: Session, job_id: str) -> Sequence[Transition]:
    return session.scalars(select(Transition).where(Transition.job_id == job_id).order_by(Transition.id)).all()
