"""The ledger of contributions."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base


class Contribution(Base):
    """The ledger: one row per acknowledged contribution. `[start, end)` are the steps of its job that it covers."""

    __tablename__ = "contributions"
    __table_args__ = (
        UniqueConstraint("job_id", "start"),
        Index("ix_contributions_family", "family_id", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    attempt: Mapped[int]
    sequence: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    base_version: Mapped[int | None]
    rule: Mapped[str] = mapped_column(String(32))
    skipped: Mapped[int] = mapped_column(default=0)
    """Gradients that were zero or not finite, and added nothing."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    path: Mapped[str | None] = mapped_column(Text, index=True)
    """Its file in the storage; None once it was folded into its job's sum."""
    created_at: Mapped[datetime]


class JobSum(Base):
    """The exact sum of an ended job's contributions, which replaces their files; the ledger keeps their digests."""

    __tablename__ = "job_sums"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"), index=True)
    steps: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    path: Mapped[str] = mapped_column(Text, index=True)
    created_at: Mapped[datetime]
