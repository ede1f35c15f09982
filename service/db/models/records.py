"""What a job leaves behind while it runs: metrics, events, checkpoints, what it printed."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class MetricPoint(Base):
    """One value of one metric at one step; a resumed attempt writes over what it repeats."""

    __tablename__ = "metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float]
    at: Mapped[datetime]


class Event(Base):
    """`seq` counts a job's events without gaps in the order of their commits: it is taken from `jobs.event_seq`."""

    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("job_id", "seq"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    seq: Mapped[int]
    type: Mapped[str] = mapped_column(String(32))
    level: Mapped[str] = mapped_column(String(8), default="info")
    message: Mapped[str] = mapped_column(Text, default="")
    data: Mapped[Json] = mapped_column(default=dict)
    created_at: Mapped[datetime]


class Checkpoint(Base):
    """A published checkpoint: the row is written after its files are durable, and names them by content."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("job_id", "step"), Index("ix_checkpoints_project", "project", "job_id"))

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    step: Mapped[int | None]
    attempt: Mapped[int | None]
    is_best: Mapped[bool] = mapped_column(default=False)
    is_last: Mapped[bool] = mapped_column(default=False)
    val_loss: Mapped[float | None]
    model: Mapped[Json | None]
    """The resolved model whose state it is; None where it was uploaded."""
    path: Mapped[str] = mapped_column(Text, index=True)
    """The model's state, safetensors, in the storage."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    state_path: Mapped[str | None] = mapped_column(Text, index=True)
    """What a resume needs beside it (optimizer, step, random states), safetensors, in the storage."""
    created_at: Mapped[datetime]


class LogChunk(Base):
    """Bytes `[start, end)` of what an attempt printed, whole lines; what lies between two chunks was dropped."""

    __tablename__ = "log_chunks"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    start: Mapped[int] = mapped_column(primary_key=True)
    end: Mapped[int]
    data: Mapped[bytes] = mapped_column(LargeBinary)
