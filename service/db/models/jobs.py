"""Jobs and what happened to them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue", "state", "priority", "id"),
        Index("ix_jobs_project", "project", "id"),
        Index("ix_jobs_state", "project", "state", "id"),
        Index("ix_jobs_family", "family_id", "state", "id"),
        Index("ix_jobs_family_id", "family_id", "id"),
        Index("ix_jobs_lane", "state", "lane", "priority", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    lane: Mapped[str] = mapped_column(String(200), default="")
    """Project and needs (service.queue.lane_of): of the queued jobs in one lane either the first fits or none does."""
    queued_at: Mapped[datetime | None]
    """Since when it waits; kept when it starts."""
    stuck_since: Mapped[datetime | None]
    """Since when nothing in the cluster could ever hold it; None: something could."""
    due_since: Mapped[datetime | None]
    """Since when room is being made for it; None: others may pass."""
    queue_timeout_s: Mapped[float | None]
    """The description's, where a statement can see it."""
    spec: Mapped[Json]
    spec_version: Mapped[int]
    resolved: Mapped[Json]
    """service.jobs.Resolved: what the spec's references meant at submit (model sizes, anchor, seeds, versions)."""
    base_path: Mapped[str | None] = mapped_column(Text, index=True)
    """The file of the storage that its weights begin with: kept as long as the job may need it."""
    warp_version: Mapped[int | None]
    intent: Mapped[str | None] = mapped_column(String(16))
    """cancel or pause: what the user asked for, obeyed by the attempt or by the dispatcher."""
    pending_reason: Mapped[Json | None]
    token: Mapped[int] = mapped_column(default=0)
    """Fencing token: grows with every claim; writes of an attempt with an older one change nothing."""
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    progress_step: Mapped[int] = mapped_column(default=0)
    progress_of: Mapped[int]
    eta_s: Mapped[float | None]
    result: Mapped[Json | None]
    failure: Mapped[Json | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime | None]
    """A job that is to be tried again is not claimed before this."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class JobLabel(Base):
    """One pair of a job's metadata, for the filter `metadata[k]`."""

    __tablename__ = "job_labels"
    __table_args__ = (Index("ix_job_labels_value", "project", "key", "value", "job_id"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    """The job's, so that a search walks along no other's."""
    value: Mapped[str] = mapped_column(String(512))


class Transition(Base):
    __tablename__ = "transitions"

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    source: Mapped[str | None] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text, default="")
    at: Mapped[datetime]


class Attempt(Base):
    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[int]
    submission_id: Mapped[str] = mapped_column(String(64), unique=True)
    launcher: Mapped[str] = mapped_column(String(16))
    pid: Mapped[int | None]
    start_step: Mapped[int | None]
    granted: Mapped[int | None]
    """How many workers it may have, where their number may change; None: as many as the description asks for."""
    workers: Mapped[int | None]
    """How many its present group has; None: no group yet. The larger of both numbers is reserved."""
    groups: Mapped[list[Json]] = mapped_column(default=list)
    """Every group of workers that trained: `[{"step": 0, "workers": 2, "at": "…"}]`, from `step` on."""
    warps: Mapped[list[Json]] = mapped_column(default=list)
    """Every (step, version) that the attempt trained under: `[{"step": 0, "version": 3}]`."""
    heartbeat_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    """succeeded, failed, cancelled, paused or lost; None while it runs."""
    failure: Mapped[Json | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
