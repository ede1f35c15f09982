"""Who is told of events over HTTP, and what is still to be told."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base


class Webhook(Base):
    __tablename__ = "webhooks"
    __table_args__ = (Index("ix_webhooks_project", "project", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(Text)
    events: Mapped[list[str]]
    """Types of events; empty: all."""
    secret: Mapped[str] = mapped_column(String(64))
    """It signs, so it must be known here: it is stored as it is, and shown once."""
    old_secret: Mapped[str | None] = mapped_column(String(64))
    """The one before: it signs beside the new one until `old_secret_until`."""
    old_secret_until: Mapped[datetime | None]
    enabled: Mapped[bool]
    disabled_reason: Mapped[str | None] = mapped_column(String(200))
    failing_since: Mapped[datetime | None]
    """The first of the failures since the last success."""
    last_delivery_at: Mapped[datetime | None]
    last_status: Mapped[int | None]
    """HTTP status of the last try; None: there was no answer, or no try."""
    last_error: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]


class Delivery(Base):
    """One event for one webhook, written in the event's transaction. `attempts` fences: each claim counts it up."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "event_id"),
        Index("ix_deliveries_due", "state", "due_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id"))
    event_id: Mapped[str] = mapped_column(String(40))
    event_type: Mapped[str] = mapped_column(String(32))
    body: Mapped[str] = mapped_column(Text)
    """What is sent, to the byte: the signature is over it."""
    state: Mapped[str] = mapped_column(String(16))
    """pending, delivered or failed."""
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    """When it is tried next; of one that is being sent: when its lease ends."""
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
