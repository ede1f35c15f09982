"""SQL of what is kept for a while only."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from service.db.models import Checkpoint, Event, Job, LogChunk, MetricPoint
from service.states import TERMINAL

_ENDED = sorted(str(state) for state in TERMINAL)

Record = type[LogChunk] | type[Event] | type[MetricPoint]


def jobs_with_checkpoints(session: Session, after: str, most: int) -> Sequence[str]:
    """Ids of jobs that have checkpoints, in order, after one."""
    rows = select(Checkpoint.job_id).where(Checkpoint.job_id > after).distinct().order_by(Checkpoint.job_id)
    return [id_ for id_ in session.scalars(rows.limit(most)) if id_ is not None]


def checkpoints(session: Session, job_id: str) -> list[Checkpoint]:
    return list(session.scalars(select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.step)))


def jobs_with_old(session: Session, record: Record, before: datetime | None, most: int) -> Sequence[str]:
    """Jobs that ended before that time (None: no matter when) or were deleted, and have such records."""
    past: ColumnElement[bool] = Job.deleted_at.is_not(None)
    if before is not None:
        past = or_(past, Job.finished_at <= before)
    rows = select(record.job_id).join(Job, Job.id == record.job_id).where(past, *_loose(record)).distinct()
    return session.scalars(rows.limit(most)).all()


def drop(session: Session, record: Record, job_id: str) -> None:
    session.execute(delete(record).where(record.job_id == job_id, *_loose(record)))


def _loose(record: Record) -> tuple[ColumnElement[bool], ...]:
    """The event `end` stays: without it a reader of the job's events would wait for ever."""
    return (Event.type != "end",) if record is Event else ()


def pinned_warps(session: Session, family_id: int, since: datetime) -> set[int]:
    """Versions of P that jobs began with which have not ended, or not before that time."""
    versions = session.scalars(select(Job.warp_version).where(*_needing(family_id, since)).distinct())
    return {version for version in versions if version is not None}


def pinned_files(session: Session, family_id: int, since: datetime) -> set[str]:
    """Files that such jobs took their weights from."""
    paths = session.scalars(select(Job.base_path).where(*_needing(family_id, since)).distinct())
    return {path for path in paths if path is not None}


def _needing(family_id: int, since: datetime) -> tuple[ColumnElement[bool], ...]:
    recent = or_(Job.state.not_in(_ENDED), Job.finished_at > since)
    return Job.family_id == family_id, recent
