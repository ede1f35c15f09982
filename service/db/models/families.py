"""Families: what they are, and every version of their P with its aliases."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class Family(Base):
    """A named group of jobs that share one P. `project` owns it; its name is unique there."""

    __tablename__ = "families"
    __table_args__ = (UniqueConstraint("project", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(Text, default="")
    promotion: Mapped[str] = mapped_column(String(16), default="latest")
    starts: Mapped[bool] = mapped_column(default=True)
    """Whether it hands out starts, which are made of its jobs' weights."""
    start_step: Mapped[float] = mapped_column(default=1.0)
    """How far a start moves to what its contributors found: 1 is their average."""
    columns: Mapped[Json] = mapped_column(default=dict)
    """Outer axis key → names of its entries in order, as the first job with named columns had them."""
    epoch: Mapped[int] = mapped_column(default=0)
    """Number of the meta-learner that may write; each new one takes the next."""
    learner_seen_at: Mapped[datetime | None]
    accepted: Mapped[int] = mapped_column(default=0)
    refused: Mapped[Json] = mapped_column(default=dict)
    """Error code → how many contributions were refused with it."""
    created_at: Mapped[datetime]


class WarpVersion(Base):
    """An immutable, numbered P of a family."""

    __tablename__ = "warp_versions"

    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    """The meta-learner that wrote it; 0: uploaded."""
    rule: Mapped[str] = mapped_column(String(32))
    parent: Mapped[int | None]
    statistics_digest: Mapped[str | None] = mapped_column(String(64))
    solved_with: Mapped[Json] = mapped_column(default=dict)
    jobs: Mapped[list[Json]] = mapped_column(default=list)
    """Lineage: `[{"job", "dataset", "steps", "contributions"}]` in order of job id."""
    steps: Mapped[int] = mapped_column(default=0)
    keys: Mapped[list[Json]] = mapped_column(default=list)
    """`[{"key", "size"}]`, sorted."""
    comparison: Mapped[Json | None]
    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"))
    size: Mapped[int]
    eigenvalues_sha256: Mapped[str | None] = mapped_column(ForeignKey("blobs.sha256"))
    created_at: Mapped[datetime]
    collected_at: Mapped[datetime | None]
    """When retention let go of its files; the row stays."""


class Alias(Base):
    __tablename__ = "aliases"

    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    updated_at: Mapped[datetime]


class AliasChange(Base):
    __tablename__ = "alias_changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int | None]
    """None: the alias was deleted."""
    previous: Mapped[int | None]
    reason: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime]
