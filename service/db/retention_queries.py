"""SQL of what is kept for a while only."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session

from service.db.models import Checkpoint, Event, Job, LogChunk, MetricPoint

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
