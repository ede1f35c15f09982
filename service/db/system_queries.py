"""SQL of what belongs to no job: stored answers and snapshots of the cluster."""

from datetime import datetime

from sqlalchemy import and_, delete, or_, select
from sqlalchemy.orm import Session

from service.db.models import IdempotencyKey, Snapshot


def newest_snapshot(session: Session) -> Snapshot | None:
    return session.scalars(select(Snapshot).order_by(Snapshot.at.desc()).limit(1)).one_or_none()


def free_keys(session: Session, *, answered: datetime, unanswered: datetime) -> None:
    """Forgets keys as old as `answered`, and those without an answer that are as old as `unanswered`."""
    dead = and_(IdempotencyKey.status.is_(None), IdempotencyKey.created_at <= unanswered)
    session.execute(delete(IdempotencyKey).where(or_(IdempotencyKey.created_at <= answered, dead)))


def free_unanswered_key(session: Session, project: str, path: str, key: str) -> None:
    mine = and_(IdempotencyKey.project == project, IdempotencyKey.path == path, IdempotencyKey.key == key)
    session.execute(delete(IdempotencyKey).where(mine, IdempotencyKey.status.is_(None)))
