"""SELECTs over jobs, their attempts and transitions.

Whoever changes a job reads it through `locked`: PostgreSQL then holds the row until the transaction ends, and SQLite
has one writer anyway. Locks are taken job first, then what belongs to it.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    FromClause,
    Row,
    Select,
    Text,
    bindparam,
    cast,
    func,
    select,
    type_coerce,
)
from sqlalchemy.orm import Session

from service.db.models import Attempt, Job, Transition
from service.db.models.base import UtcDateTime
from service.states import JobState

_WITH_ATTEMPT = [state for state in JobState if state.has_attempt]
_UNENDED = [state for state in JobState if not state.is_terminal]


def visible(project: str) -> Select[Job]:
    return select(Job).where(Job.project == project, Job.deleted_at.is_(None))


def locked(session: Session, job_id: str) -> Job | None:
    """The job as it is now, locked against everybody else until the transaction ends."""
    statement = select(Job).where(Job.id == job_id).with_for_update(key_share=True)
    return session.scalars(statement.execution_options(populate_existing=True)).one_or_none()


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


def count_unended(session: Session, project: str | None = None) -> dict[JobState, int]:
    """The same of the states that are not terminal, read from an index alone: what has not ended is never deleted."""
    statement = select(Job.state, func.count()).where(Job.state.in_(_UNENDED)).group_by(Job.state)
    rows = session.execute(statement if project is None else statement.where(Job.project == project))
    return {JobState(state): count for state, count in rows}


def _plain(column: Any) -> Any:
    """A column as the database has it: JSON as text, times as milliseconds. Whoever shows it need not read it first."""
    if isinstance(column.type, JSON):
        return cast(column, Text).label(column.key)
    return type_coerce(column, BigInteger).label(column.key) if isinstance(column.type, UtcDateTime) else column


def _selected(table: FromClause, *names: str) -> Any:
    return select(*(_plain(table.c[name]) for name in names))


# Made once, because making a statement costs more than running it; of tables, because objects cost more than rows.
_JOB, _ATTEMPT, _TRANSITION = (each.__table__ for each in (Job, Attempt, Transition))
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_JOBS = ("id", "project", "spec", "spec_version", "state", "warp_version", "created_at", "started_at")
_PROGRESS = ("finished_at", "progress_step", "progress_of", "eta_s", "result", "failure", "token", "event_seq")
_TRIES = ("job_id", "number", "submission_id", "start_step", "warps", "groups", "outcome", "failure")
_SHOWN = (
    _selected(_JOB, *_JOBS, *_PROGRESS)
    .add_columns(_JOB.c.resolved["start_version"].as_integer().label("start_version"))
    .where(_JOB.c.id.in_(_IDS), _JOB.c.project.in_(bindparam("projects", expanding=True)))
    .where(_JOB.c.deleted_at.is_(None))
)
_VERSIONS = _selected(_JOB, "id", "project", "state", "finished_at", "token", "event_seq")
_VERSIONS = _VERSIONS.where(_JOB.c.id.in_(_IDS), _JOB.c.deleted_at.is_(None))
_IN_LINE: Select[*tuple[Any, ...]] = select(
    Job.id, Job.state, Job.lane, Job.priority, Job.pending_reason, Job.not_before
).where(Job.id.in_(_IDS))
_ATTEMPTS = _selected(_ATTEMPT, *_TRIES, "created_at", "started_at", "finished_at")
_ATTEMPTS = _ATTEMPTS.where(_ATTEMPT.c.job_id.in_(_IDS)).order_by(_ATTEMPT.c.number)
_TRANSITIONS = _selected(_TRANSITION, "job_id", "source", "target", "reason", "message", "at")
_TRANSITIONS = _TRANSITIONS.where(_TRANSITION.c.job_id.in_(_IDS)).order_by(_TRANSITION.c.id)


def shown(session: Session, places: Collection[tuple[str, str]]) -> Sequence[Row[Any]]:
    """Visible jobs with one of these ids and one of these projects, as plain rows; whoever names several compares."""
    projects, ids = {project for project, _ in places}, {id_ for _, id_ in places}
    return session.execute(_SHOWN, {"ids": list(ids), "projects": list(projects)}).all()


def versions(session: Session, job_ids: Collection[str]) -> Sequence[Row[Any]]:
    """What changes with each change of these jobs' states, of those that are not deleted, as plain rows."""
    return session.execute(_VERSIONS, {"ids": list(job_ids)}).all()


def in_line(session: Session, job_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """What decides why these jobs wait."""
    return session.execute(_IN_LINE, {"ids": job_ids}).all()


def attempts_of(session: Session, job_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """The attempts of each of these jobs, oldest first, as plain rows."""
    return _by_job(session.execute(_ATTEMPTS, {"ids": job_ids}))


def transitions_of(session: Session, job_ids: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """The transitions of each of these jobs, oldest first, as plain rows."""
    return _by_job(session.execute(_TRANSITIONS, {"ids": job_ids}))


def _by_job(rows: Iterable[Row[Any]]) -> dict[str, list[Row[Any]]]:
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    return session.scalars(select(Attempt).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()


def transitions(session: Session, job_id: str) -> Sequence[Transition]:
    return session.scalars(select(Transition).where(Transition.job_id == job_id).order_by(Transition.id)).all()
