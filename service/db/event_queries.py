"""SELECTs over events, and the counter that numbers them."""

from collections.abc import Collection, Sequence

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from service.db.models import Event, Job


def of_job(job_id: str) -> Select[Event]:
    return select(Event).where(Event.job_id == job_id)


def next_seq(session: Session, job_id: str) -> int:
    """Counts up the job's events. The row stays locked until the commit, so the order of numbers is that of commits."""
    statement = update(Job).where(Job.id == job_id).values(event_seq=Job.event_seq + 1).returning(Job.event_seq)
    return session.execute(statement.execution_options(synchronize_session=False)).scalar_one()


def after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    return session.scalars(of_job(job_id).where(Event.seq > seq).order_by(Event.seq).limit(limit)).all()


def seq_of(session: Session, job_id: str, event_id: str) -> int | None:
    return session.scalars(select(Event.seq).where(Event.job_id == job_id, Event.id == event_id)).one_or_none()


def heads(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """How many events each of these jobs has had."""
    return {row.id: row.event_seq for row in session.execute(select(Job.id, Job.event_seq).where(Job.id.in_(job_ids)))}
