"""SQL of projects, keys and the audit log."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, exists, or_, select, update
from sqlalchemy.orm import Session

from service.db.models import ApiKey, AuditRecord, Json, Project


def with_limits(session: Session, key_id: str) -> tuple[ApiKey, Json] | None:
    """The key, revoked and expired ones too, and what its project's limits are."""
    statement = select(ApiKey, Project.limits).join(Project, Project.name == ApiKey.project).where(ApiKey.id == key_id)
    row = session.execute(statement).one_or_none()
    return None if row is None else (row[0], row[1])


def any_ever(session: Session) -> bool:
    """Whether a key was ever made: one that was revoked or has expired does not open the service again."""
    return bool(session.scalar(select(exists(select(ApiKey.id)))))


def any_active(session: Session, now: datetime) -> bool:
    return bool(session.scalar(select(exists(_active(now)))))


def _active(now: datetime) -> Select[ApiKey]:
    return select(ApiKey).where(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now))


def of_project(project: str) -> Select[ApiKey]:
    """Those that were not revoked."""
    return select(ApiKey).where(ApiKey.project == project, ApiKey.revoked_at.is_(None))


def unrevoked(session: Session, key_id: str) -> ApiKey | None:
    return session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)))


def everywhere(session: Session) -> Sequence[ApiKey]:
    """Those of all projects that were not revoked, newest first."""
    statement = select(ApiKey).where(ApiKey.revoked_at.is_(None)).order_by(ApiKey.id.desc())
    return session.scalars(statement).all()


def touch(session: Session, key_id: str, now: datetime, unless_since: datetime) -> None:
    """Notes a use, unless one after `unless_since` is noted already."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= unless_since)
    statement = update(ApiKey).where(ApiKey.id == key_id, stale).values(last_used_at=now)
    session.execute(statement.execution_options(synchronize_session=False))


def locked_project(session: Session, name: str) -> Project | None:
    """The project's row, ours until the transaction ends: two requests count one after the other."""
    return session.get(Project, name, with_for_update=True, populate_existing=True)


def projects(session: Session) -> Sequence[Project]:
    return session.scalars(select(Project).order_by(Project.name)).all()


def audit(
    project: str, *, actions: Sequence[str] = (), actors: Sequence[str] = (), targets: Sequence[str] = ()
) -> Select[AuditRecord]:
    statement = select(AuditRecord).where(AuditRecord.project == project)
    for column, values in (
        (AuditRecord.action, actions),
        (AuditRecord.actor, actors),
        (AuditRecord.target, targets),
    ):
        if values:
            statement = statement.where(column.in_(values))
    return statement
