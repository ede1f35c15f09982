"""The tables. What each process may write is DESIGN's table "Who writes what".

Every row that a runner or a meta-learner writes is guarded: a runner's by its attempt's fencing token
(`attempts.token`, equal to `jobs.token` while the attempt owns the job), a meta-learner's by its family's `epoch`.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

Json = dict[str, Any]


class UtcDateTime(TypeDecorator[datetime]):
    """Milliseconds since 1970 in a BIGINT: the same on every database, sortable, never without its zone."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else round(value.timestamp() * 1000)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value / 1000, tz=UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={  # a migration can only change a constraint that has a name, the same on every database
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        Json: JSON,
        list[Json]: JSON,
        list[str]: JSON,
        int: BigInteger().with_variant(Integer, "sqlite"),
    }


class Family(Base):
    """A named group of jobs that share one P. `project` owns it; its name is unique there."""

    __tablename__ = "families"
    __table_args__ = (UniqueConstraint("project", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(Text, default="")
    promotion: Mapped[str] = mapped_column(String(16), default="latest")
    columns: Mapped[Json] = mapped_column(default=dict)
    """Outer axis key → names of its entries in order, as the first job with named columns had them."""
    epoch: Mapped[int] = mapped_column(default=0)
    """Number of the meta-learner that may write; each new one takes the next."""
    learner_seen_at: Mapped[datetime | None]
    accepted: Mapped[int] = mapped_column(default=0)
    refused: Mapped[Json] = mapped_column(default=dict)
    """Error code → how many contributions were refused with it."""
    created_at: Mapped[datetime]


class Dataset(Base):
    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_project", "project", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    """inspecting, ready or invalid."""
    options: Mapped[Json]
    """DatasetOptions as registered, plus `builtin` and `part` where it is one."""
    uri: Mapped[str | None] = mapped_column(Text)
    """Where its bytes are: a path in the storage for uploads (`uploaded`), an outside URI, None for built-ins."""
    uploaded: Mapped[bool] = mapped_column(default=False)
    sha256: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int | None]
    info: Mapped[Json | None]
    """What was understood (service.data.DatasetInfo): shapes, types, classes, columns."""
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Job(Base):
    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_queue", "state", "priority", "id"),
        Index("ix_jobs_project", "project", "id"),
        Index("ix_jobs_family", "family_id", "state"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    family_id: Mapped[int] = mapped_column(ForeignKey("families.id"))
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    state: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int] = mapped_column(default=0)
    spec: Mapped[Json]
    spec_version: Mapped[int]
    resolved: Mapped[Json]
    """service.jobs.Resolved: what the spec's references meant at submit (model sizes, anchor, seeds, versions)."""
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
    __table_args__ = (Index("ix_job_labels_value", "key", "value", "job_id"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
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
    warps: Mapped[list[Json]] = mapped_column(default=list)
    """Every (step, version) that the attempt trained under: `[{"step": 0, "version": 3}]`."""
    heartbeat_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(16))
    """succeeded, failed, cancelled, paused or lost; None while it runs."""
    failure: Mapped[Json | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


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
    __table_args__ = (UniqueConstraint("job_id", "step"),)

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
    path: Mapped[str] = mapped_column(Text)
    """The model's state, safetensors, in the storage."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int]
    state_path: Mapped[str | None] = mapped_column(Text)
    """What a resume needs beside it (optimizer, step, random states), safetensors, in the storage."""
    created_at: Mapped[datetime]


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
    path: Mapped[str | None] = mapped_column(Text)
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
    path: Mapped[str] = mapped_column(Text)
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


class Blob(Base):
    """A file kept in the database in pieces of at most 1 MiB, under its sha256."""

    __tablename__ = "blobs"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int]


class BlobPiece(Base):
    __tablename__ = "blob_pieces"

    sha256: Mapped[str] = mapped_column(ForeignKey("blobs.sha256"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class IdempotencyKey(Base):
    """The stored answer of an executed POST; `status` is None while the first request is in flight."""

    __tablename__ = "idempotency_keys"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    path: Mapped[str] = mapped_column(String(400), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    headers: Mapped[Json | None]
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Snapshot(Base):
    """What the dispatcher last saw of the cluster; one row per dispatcher."""

    __tablename__ = "snapshots"

    dispatcher: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[Json]
    at: Mapped[datetime]
