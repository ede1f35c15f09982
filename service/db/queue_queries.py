"""SQL of the queue. What is asked often visits one row for each lane, however many jobs wait in it.

A lane holds the queued jobs of one project that need the same; all statements go by the index `ix_jobs_lane`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CursorResult,
    func,
    null,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)
from sqlalchemy.orm import Session, aliased

from service.db.models import Attempt, Job, Json, ProjectUsage, Transition
from service.states import JobState

LONGEST_WAIT = timedelta(minutes=1)
"""Before a job is tried again."""

_QUEUED = Job.state == JobState.QUEUED
_WITH_ATTEMPT = [state for state in JobState if state.has_attempt]


class Waiting(Protocol):
    """A queued job, or a row with its columns."""

    @property
    def id(self) -> Any: ...
    @property
    def lane(self) -> Any: ...
    @property
    def priority(self) -> Any: ...


@dataclass(frozen=True)
class Candidate:
    """What a claimer sees of a queued job before it has it."""

    id: str
    project: str
    lane: str
    priority: int
    token: int
    queued_at: datetime | None
    due_since: datetime | None
    spec: dict[str, Any]


@dataclass(frozen=True)
class Holder:
    """What is known of a job that has an attempt, which reserves resources."""

    id: str
    project: str
    family_id: int
    progress_step: int
    eta_s: float | None
    spec: dict[str, Any]
    attempt: int
    granted: int | None
    """How many workers it may have, where their number may change."""
    workers: int | None
    """How many its present group has; None: it has no group yet."""
    groups: list[Json]
    claimed_at: datetime

    @property
    def reserved(self) -> int | None:
        """The workers that it keeps a place for; None: as many as its description asks for."""
        return max(self.granted or 0, self.workers or 0) or None


def lanes(session: Session) -> list[str]:
    """Lanes with queued jobs, in order of name: a seek in the index for each."""
    return list(session.scalars(select(_lanes().c.lane).where(_lanes().c.lane.is_not(None))))


def _lanes() -> Any:
    first = select(func.min(Job.lane).label("lane")).where(_QUEUED)
    walk = first.cte("lanes", recursive=True)
    following = select(func.min(Job.lane)).where(_QUEUED, Job.lane > walk.c.lane).scalar_subquery()
    return walk.union_all(select(following).where(walk.c.lane.is_not(None)))


def heads(session: Session, now: datetime | None) -> list[Candidate]:
    """The first job of each lane: of the highest priority the oldest; with `now`, of those that may be claimed then."""
    walk = _lanes()
    ours, theirs = aliased(Job), aliased(Job)
    highest = (
        select(theirs.priority)
        .where(*_claimable(theirs, now), theirs.lane == walk.c.lane)
        .order_by(theirs.priority.desc())
        .limit(1)
        .scalar_subquery()
        .correlate(walk)
    )
    first = (
        select(ours.id)
        .where(*_claimable(ours, now), ours.lane == walk.c.lane, ours.priority == highest)
        .order_by(ours.id)
        .limit(1)
        .scalar_subquery()
        .correlate(walk)
    )
    # Two statements: in one, PostgreSQL would rather read the whole queue than seek a row for each lane.
    ids = [id_ for id_ in session.scalars(select(first).where(walk.c.lane.is_not(None))) if id_ is not None]
    columns = (Job.id, Job.project, Job.lane, Job.priority, Job.token, Job.queued_at, Job.due_since, Job.spec)
    return [Candidate(*row) for row in session.execute(select(*columns).where(Job.id.in_(ids)).order_by(Job.lane))]


def _claimable(job: Any, now: datetime | None) -> tuple[ColumnElement[bool], ...]:
    if now is None:
        return (job.state == JobState.QUEUED,)
    # One that is further away than anybody is made to wait was written before the clock was set back.
    may = or_(job.not_before.is_(None), job.not_before <= now, job.not_before > now + LONGEST_WAIT)
    return job.state == JobState.QUEUED, job.intent.is_(None), may


def take(session: Session, candidate: Candidate, lease_until: datetime) -> Job | None:
    """The claim: one conditional UPDATE, which of several claimers only one can win. The job, if this one did."""
    still_queued = _QUEUED & Job.intent.is_(None) & (Job.token == candidate.token)
    statement = (
        update(Job)
        .where(Job.id == candidate.id, still_queued)
        .values(token=Job.token + 1, attempt=Job.attempt + 1, lease_until=lease_until, not_before=None)
        .execution_options(synchronize_session=False)
    )
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return session.get_one(Job, candidate.id, populate_existing=True) if result.rowcount == 1 else None


def holders(session: Session) -> list[Holder]:
    """Jobs that have an attempt, oldest first: what they reserve is not free."""
    ours = (Job.id, Job.project, Job.family_id, Job.progress_step, Job.eta_s, Job.spec)
    theirs = (Attempt.number, Attempt.granted, Attempt.workers, Attempt.groups, Attempt.created_at)
    same = (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt)
    columns = select(*ours, *theirs).join(Attempt, same)
    return [Holder(*row) for row in session.execute(columns.where(Job.state.in_(_WITH_ATTEMPT)).order_by(Job.id))]


def ahead(session: Session, job: Waiting, most: int) -> int:
    """How many queued jobs of its lane go before it; counted up to `most`."""
    lane = (_QUEUED, Job.lane == job.lane)
    parts = (
        select(Job.id).where(*lane, Job.priority > job.priority).limit(most).subquery(),
        select(Job.id).where(*lane, Job.priority == job.priority, Job.id < job.id).limit(most).subquery(),
    )
    both = union_all(*(select(part.c.id) for part in parts)).subquery()
    return min(most, session.scalar(select(func.count()).select_from(both)) or 0)


def following(session: Session, lane: str, priority: int, after: str, until: str, most: int) -> list[str]:
    """Ids of queued jobs of a lane and priority, younger than `after` and older than `until`, oldest first."""
    here = (_QUEUED, Job.lane == lane, Job.priority == priority, Job.id > after, Job.id < until)
    return list(session.scalars(select(Job.id).where(*here).order_by(Job.id).limit(most)))


def newest_change(session: Session) -> int | None:
    """A number that grows with every change of a job's state; None where nothing is queued."""
    is_any = session.scalar(select(Job.id).where(_QUEUED).limit(1))
    return None if is_any is None else session.scalar(select(func.max(Transition.id)))


def mark_stuck(session: Session, reasons: Mapping[str, Json], now: datetime) -> None:
    """Queued jobs of these lanes could never start: since when, and why. Those of other lanes could."""
    for lane, reason in reasons.items():
        in_lane = update(Job).where(_QUEUED, Job.lane == lane)
        _run(session, in_lane.where(Job.stuck_since.is_(None)).values(stuck_since=now, pending_reason=reason))
    known = update(Job).where(_QUEUED, Job.stuck_since.is_not(None), Job.lane.not_in(list(reasons)))
    _run(session, known.values(stuck_since=None, pending_reason=null()))


def mark_due(session: Session, job_id: str, now: datetime) -> None:
    """From now on room is made for this job, if it still waits."""
    due = update(Job).where(_QUEUED, Job.id == job_id, Job.due_since.is_(None))
    _run(session, due.values(due_since=now))


def _run(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))


def overdue(session: Session, lanes: Collection[str], now: datetime, most: int) -> Sequence[str]:
    """Jobs of these lanes that have been stuck for longer than they want to wait."""
    waited_ms = round(now.timestamp() * 1000) - _plain(Job.stuck_since)
    late = waited_ms >= Job.queue_timeout_s * 1000
    statement = select(Job.id).where(_QUEUED, Job.lane.in_(list(lanes)), Job.stuck_since.is_not(None), late)
    return session.scalars(statement.order_by(Job.id).limit(most)).all()


def _plain(stored: Any) -> ColumnElement[int]:
    """A time as the integer that the database holds."""
    return type_coerce(stored, BigInteger)


def usage(session: Session) -> list[ProjectUsage]:
    """What each project has used, ours until the transaction ends."""
    return list(session.scalars(select(ProjectUsage).with_for_update().order_by(ProjectUsage.project)))


def usage_seen(session: Session) -> list[ProjectUsage]:
    """The same without a lock."""
    return list(session.scalars(select(ProjectUsage)))


def leases(session: Session) -> list[tuple[str, int, int, datetime | None, str | None, str]]:
    """(job, attempt, token, lease, intent, state) of all attempts that own a job."""
    columns = (Job.id, Job.attempt, Job.token, Job.lease_until, Job.intent, Job.state)
    rows = session.execute(select(*columns).where(Job.state.in_(_WITH_ATTEMPT)).order_by(Job.id))
    return [(job, attempt, token, lease, intent, state) for job, attempt, token, lease, intent, state in rows]
