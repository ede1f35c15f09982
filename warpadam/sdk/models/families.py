"""Families: what they learned from, and the versions of P and of the start that they hand out."""

from dataclasses import dataclass, field
from datetime import datetime

from warpadam.sdk.decode import Json, Model


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
