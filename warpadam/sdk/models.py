"""What the service answers, as typed objects (CONTRACT, HTTP). Times are aware datetimes; `_s` means seconds."""

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


@dataclass(frozen=True, kw_only=True)
class Dataset(Model):
    """`info` says what was understood of it once it is `ready`; `error` what to do where it is `invalid`."""

    id: str
    name: str | None
    state: str
    options: Json = field(default_factory=dict)
    uri: str | None
    sha256: str | None
    size: int | None
    info: Json | None
    error: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Learner(Model):
    """The family's meta-learner: contributions accepted, refused by code, and accepted but in no version yet."""

    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    epoch: int = 0


@dataclass(frozen=True, kw_only=True)
class Family(Model):
    name: str
    description: str = ""
    promotion: str
    starts: bool = True
    start_step: float = 1.0
    champion: int | None
    latest: int | None
    learner: Learner = field(default_factory=Learner)
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class WarpKey(Model):
    """An axis and its number of elements."""

    key: str
    size: int


@dataclass(frozen=True, kw_only=True)
class WarpVersion(Model):
    """One version of a family's P; `size` in bytes, `steps` of all the jobs that taught it."""

    version: int
    family: str
    sha256: str
    size: int
    rule: str
    parent: int | None
    statistics_digest: str | None
    solved_with: Json = field(default_factory=dict)
    jobs: list[Json] = field(default_factory=list)
    steps: int = 0
    keys: list[WarpKey] = field(default_factory=list)
    comparison: Json | None
    start_version: int | None
    created_at: datetime
    collected_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class StartVersion(Model):
    """Weights that a family hands out for one architecture and base (`anchor`); `warp_version` is the P beside it."""

    version: int
    family: str
    anchor: str
    base_sha256: str | None
    model: Json = field(default_factory=dict)
    sha256: str
    size: int
    rule: str
    step: float = 1.0
    round: int = 1
    parent: int = 0
    warp_version: int | None
    jobs: list[Json] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    created_at: datetime
    collected_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Alias(Model):
    name: str
    family: str
    version: int
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class AliasChange(Model):
    """`version` None: the alias was deleted."""

    version: int | None
    previous: int | None
    reason: str = ""
    at: datetime


@dataclass(frozen=True, kw_only=True)
class Contribution(Model):
    """What the steps `[start, end)` of a job added to its family's statistics."""

    id: int
    job: str
    attempt: int
    sequence: int
    start: int
    end: int
    base_version: int | None
    rule: str
    skipped: int = 0
    sha256: str
    size: int
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Node(Model):
    id: str
    alive: bool = True
    cpus: float = 0.0
    gpus: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cluster(Model):
    """What the dispatcher last saw, `at`; None: none has been seen yet."""

    nodes: list[Node] = field(default_factory=list)
    cpus: float = 0.0
    gpus: float = 0.0
    free_cpus: float = 0.0
    free_gpus: float = 0.0
    used_cpus: float = 0.0
    used_gpus: float = 0.0
    queue: dict[str, int] = field(default_factory=dict)
    dispatcher: str | None
    at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Check(Model):
    ok: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Readiness(Model):
    status: str
    checks: dict[str, Check] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Key(Model):
    """An API key; what to send, `secret`, is there only in the answer that makes it."""

    id: str
    name: str | None
    project: str | None
    scopes: list[str] = field(default_factory=list)
    secret: str | None = field(repr=False)
    created_at: datetime | None
    expires_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class AuditRecord(Model):
    """One change: `actor` (a key's id, or how there was none) did `action` to `target`, from `address`."""

    id: str
    actor: str | None
    action: str | None
    target: str | None
    data: Json = field(default_factory=dict)
    address: str | None
    request_id: str | None
    created_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Webhook(Model):
    """`secret`, which signs what is sent, is there only in the answer that makes or changes it."""

    id: str
    url: str
    events: list[str] = field(default_factory=list)
    """Empty: all."""
    enabled: bool = True
    disabled_reason: str | None
    secret: str | None = field(repr=False)
    created_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class WebhookDelivery(Model):
    """One message to a webhook: `state` is pending, delivered or failed."""

    id: str
    event_id: str
    event_type: str
    state: str
    attempts: int = 0
    next_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None
    created_at: datetime | None
    finished_at: datetime | None
