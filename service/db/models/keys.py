"""Projects, the keys that open them, and the log of who changed what."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class Project(Base):
    """Whose everything is. A project has a row once it has a key, or limits of its own."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    limits: Mapped[Json] = mapped_column(default=dict)
    """service.limits.Limits: what differs from the server's settings; null: no limit."""
    created_at: Mapped[datetime]


class ApiKey(Base):
    """A key; its secret is not here. Rows are never removed, so the audit log can name them."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_project", "project", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"))
    name: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[str]]
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the whole secret, which has 160 random bits: nothing slower is needed."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """Within a minute."""
    revoked_at: Mapped[datetime | None]


class AuditRecord(Base):
    """One change. The database refuses to alter or remove a row."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_project", "project", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(64))
    """The key's id; `loopback` where none was needed; `command` for the server's own command line."""
    action: Mapped[str] = mapped_column(String(64))
    target: Mapped[str] = mapped_column(String(200))
    data: Mapped[Json] = mapped_column(default=dict)
    address: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime]
