"""Jobs and what they leave behind: transitions, attempts, results, events, logs, checkpoints."""

from dataclasses import dataclass, field
from datetime import datetime

from warpadam.sdk.decode import Json, Model


@dataclass(frozen=True, kw_only=True)
class Transition(Model):
    source: str | None
    target: str
    reason: str
    message: str
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Failure(Model):
    """`category`: user, infrastructure or preemption."""

    category: str
    code: str
    message: str
    attempt: int | None
    retryable: bool = False


@dataclass(frozen=True, kw_only=True)
class UsedWarp(Model):
    """From `step` on the attempt trained under `version`; None: under no version, or a basis from its own `source`."""

    step: int
    version: int | None
    source: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerGroup(Model):
    """From `step` on so many workers trained."""

    step: int
    workers: int
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Attempt(Model):
    number: int
    start_step: int | None
    warps: list[UsedWarp] = field(default_factory=list)
    groups: list[WorkerGroup] = field(default_factory=list)
    outcome: str | None
    failure: Failure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class StepsDone(Model):
    """`step` of `of`; `eta_s` more seconds at the present pace."""

    step: int = 0
    of: int | None
    eta_s: float | None


@dataclass(frozen=True, kw_only=True)
class Reason(Model):
    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Result(Model):
    """`final` and `best` hold the metrics of the last and of the best evaluation; `best` also its `step`."""

    steps: int
    seconds: float
    final: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class JobWarning(Model):
    code: str
    param: str | None
    message: str


@dataclass(frozen=True, kw_only=True)
class Validation(Model):
    """What `jobs.create` would do: `spec` is the resolved description."""

    spec: Json
    warp_version: int | None
    start_version: int | None
    warnings: list[JobWarning] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Point(Model):
    step: int
    value: float
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Event(Model):
    id: str
    type: str
    level: str
    message: str
    data: Json = field(default_factory=dict)
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class LogLine(Model):
    id: str
    attempt: int
    message: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Model):
    """A model's weights: of a job's step, or uploaded (`job` and `step` None)."""

    id: str
    job: str | None
    step: int | None
    attempt: int | None
    is_best: bool = False
    is_last: bool = False
    val_loss: float | None
    sha256: str
    size: int
    created_at: datetime
