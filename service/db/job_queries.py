"""SELECTs over jobs, their attempts and transitions.

Whoever changes a job reads it through `locked`: PostgreSQL then holds the row until the transaction ends, and SQLite
has one writer anyway. Locks are taken job first, then what belongs to it.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from service.db.models import Attempt, Family, Job, JobLabel, Transition
from service.states import JobState

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


def with_attempt(session: Session) -> Sequence[Job]:
    return session.scalars(select(Job).where(Job.state.in_(_WITH_ATTEMPT)).order_by(Job.id)).all()


def idle_with_intent(session: Session) -> Sequence[str]:
    """Jobs that are to be cancelled or paused and have no attempt that could obey."""
    idle = [JobState.QUEUED, JobState.PAUSED, JobState.RECOVERING]
    return session.scalars(select(Job.id).where(Job.state.in_(idle), Job.intent.is_not(None)).order_by(Job.id)).all()


def count_by_state(session: Session, project: str | None = None) -> dict[JobState, int]:
    """Jobs that are not deleted: everybody's, or those of one project."""
    statement = select(Job.state, func.count()).where(Job.deleted_at.is_(None)).group_by(Job.state)
    rows = session.execute(statement if project is None else statement.where(Job.project == project))
    return {JobState(state): count for state, count in rows}


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()


def transitions(session: Session, job_id: str) -> Sequence[Transition]:
    return session.scalars(select(Transition).where(Transition.job_id == job_id).order_by(Transition.id)).all()
