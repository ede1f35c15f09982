"""SQL of what attempts printed."""

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.db.models import LogChunk


def chunk_after(session: Session, job_id: str, attempt: int, place: int) -> LogChunk | None:
    """The first chunk of an attempt that has bytes after `place`."""
    mine = (LogChunk.job_id == job_id, LogChunk.attempt == attempt, LogChunk.end > place)
    return session.scalars(select(LogChunk).where(*mine).order_by(LogChunk.start).limit(1)).one_or_none()


def stored_until(session: Session, job_id: str, attempt: int) -> int:
    """Up to where the attempt's log is stored."""
    mine = (LogChunk.job_id == job_id, LogChunk.attempt == attempt)
    return session.scalar(select(func.max(LogChunk.end)).where(*mine)) or 0


def drop_before(session: Session, job_id: str, attempt: int, place: int) -> None:
    """Forgets the chunks that end at or before `place`."""
    session.execute(
        delete(LogChunk)
        .where(LogChunk.job_id == job_id, LogChunk.attempt == attempt, LogChunk.end <= place)
        .execution_options(synchronize_session=False)
    )
