"""Questions which families' P suit some data, and what was measured."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class FamilyMatch(Base):
    """`attempts` fences: each claim counts it up, and what an older one writes changes nothing."""

    __tablename__ = "family_matches"
    __table_args__ = (
        Index("ix_family_matches_state", "state", "project", "id"),
        Index("ix_family_matches_project", "project", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    state: Mapped[str] = mapped_column(String(16))
    """queued, running, succeeded or failed."""
    request: Mapped[Json]
    """service.matches.MatchSpec."""
    resolved: Mapped[Json]
    """service.matches.Resolved."""
    attempts: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    """Of one that is being measured: renewed as long as its process lives."""
    result: Mapped[Json | None]
    failure: Mapped[Json | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
