"""The service itself: data sets it holds, its cluster, keys, audit log and webhooks."""

from dataclasses import dataclass, field
from datetime import datetime

from warpadam.sdk.decode import Json, Model


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
