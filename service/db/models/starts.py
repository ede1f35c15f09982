"""A family's starts: what its jobs' final weights moved, and the ledger of those weights."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class StartVersion(Base):
    """An immutable start. Numbers count over the whole family; version 0 of each anchor is its seed or its base."""

    __tablename__ = "start_versions"
    __table_args__ = (Index("ix_start_versions_anchor", "family_id", "anchor", "version"),)

    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    anchor: Mapped[str] = mapped_column(String(12))
    """Which architecture it is for, and what it grew from (`warpadam.shapes.anchor`)."""
    identity: Mapped[str] = mapped_column(String(64))
    """`family`, or the sha256 of the base checkpoint."""
    model: Mapped[Json]
    """The resolved model."""
    epoch: Mapped[int]
    rule: Mapped[str] = mapped_column(String(32))
    step: Mapped[float]
    round: Mapped[int]
    parent: Mapped[int]
    """The version from which its round began; 0: the seed or the base."""
    jobs: Mapped[list[Json]] = mapped_column(default=list)
    """Lineage: `[{"job", "dataset", "steps", "began", "weight", "scale"}]` in order of job id."""
    datasets: Mapped[list[str]] = mapped_column(default=list)
    """Every data set behind it, those of its parents too."""
    warp_version: Mapped[int | None]
    """The newest P when it was made: the two are a pair."""
    path: Mapped[str] = mapped_column(Text)
    """The weights, safetensors, in the storage."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    created_at: Mapped[datetime]
    collected_at: Mapped[datetime | None]
    """When retention let go of its file; the row stays."""


class StartContribution(Base):
    """Final weights of one job that began from a start of its family. Written with the job's success, once.

    The meta-learner decides: it is in a round (`round`), or it was refused (`code`); neither: it waits.
    """

    __tablename__ = "start_contributions"
    __table_args__ = (Index("ix_start_contributions_family", "family_id", "decided_at"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int | None]
    """Order in which the meta-learner took it, from 1; what the rounds follow from."""
    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"))
    anchor: Mapped[str] = mapped_column(String(12))
    began: Mapped[int]
    """The start version that the job began from."""
    steps: Mapped[int]
    path: Mapped[str] = mapped_column(Text)
    """The weights of its best validation loss, in the storage."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    norm: Mapped[float | None]
    """How far it moved: ‖final - began‖."""
    round: Mapped[int | None]
    code: Mapped[str | None] = mapped_column(String(32))
    message: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime]
    decided_at: Mapped[datetime | None]
    collected_at: Mapped[datetime | None]
    """When retention let go of the weights, which no later version needs; the row stays."""
