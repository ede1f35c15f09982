"""Families, the versions of their P, aliases, and the ledger of contributions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.schemas.common import Answer, Json, Time, shown
from service.db import models
from service.families import FamilyStatus, Promotion
from service.spec import NAME_PATTERN
from service.spec_parts import Bool, FromJson, Int, Number


class FamilyCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "patches", "description": "image patches"}}
    )

    name: Annotated[str, WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
    description: str = Field(default="", max_length=10_000)
    promotion: Promotion = "latest"
    starts: Bool = True
    start_step: Number = Field(default=1.0, gt=0, le=1)


class FamilyUpdate(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"promotion": "guarded"}})

    description: str | None = Field(default=None, max_length=10_000)
    promotion: Promotion | None = None
    starts: Bool | None = None
    start_step: Number | None = Field(default=None, gt=0, le=1)


class Learner(Answer):
    accepted: int
    refused: dict[str, int]
    pending: int
    epoch: int


class Family(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "patches",
                "object": "family",
                "description": "image patches",
                "promotion": "latest",
                "starts": True,
                "start_step": 1.0,
                "champion": 7,
                "latest": 7,
                "learner": {"accepted": 42, "refused": {}, "pending": 0, "epoch": 2},
                "created_at": "2026-01-31T12:00:00.000Z",
            }
        }
    )

    name: str
    object: Literal["family"] = "family"
    description: str
    promotion: Promotion
    starts: bool
    start_step: float
    champion: int | None
    latest: int | None
    learner: Learner
    created_at: Time

    @classmethod
    def of(cls, row: models.Family, status: FamilyStatus) -> "Family":
        learner = Learner(accepted=status.accepted, refused=status.refused, pending=status.pending, epoch=status.epoch)
        return cls.model_validate(
            {
                "name": row.name,
                "description": row.description,
                "promotion": row.promotion,
                "starts": row.starts,
                "start_step": row.start_step,
                "champion": status.champion,
                "latest": status.latest,
                "learner": learner,
                "created_at": row.created_at,
            }
        )


class WarpKey(Answer):
    key: str
    size: int


class WarpVersion(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "version": 7,
                "object": "warp",
                "family": "patches",
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "size": 91_000,
                "rule": "covariance",
                "parent": 6,
                "statistics_digest": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
                "solved_with": {"solver": "numpy.linalg.eigh"},
                "jobs": [{"job": "job_01kq3v5n8w6y2d4f7h9k1m3p5r", "steps": 300}],
                "steps": 300,
                "keys": [{"key": "input:48", "size": 48}],
                "comparison": None,
                "start_version": 3,
                "created_at": "2026-01-31T12:00:00.000Z",
                "collected_at": None,
            }
        }
    )

    version: int
    object: Literal["warp"] = "warp"
    family: str
    sha256: str
    size: int
    rule: str
    parent: int | None
    statistics_digest: str | None
    solved_with: Json
    jobs: list[Json]
    steps: int
    keys: list[WarpKey]
    comparison: Json | None
    start_version: int | None
    """The start of the family that was learned with it."""
    created_at: Time
    collected_at: Time | None
    """When retention removed its file: nothing used it any more."""

    @classmethod
    def of(cls, family: str, row: models.WarpVersion, start_version: int | None) -> "WarpVersion":
        return cls(
            version=row.version,
            family=family,
            sha256=row.sha256,
            size=row.size,
            rule=row.rule,
            parent=row.parent,
            statistics_digest=row.statistics_digest,
            solved_with=row.solved_with,
            jobs=row.jobs,
            steps=row.steps,
            keys=[WarpKey.model_validate(each) for each in row.keys],
            comparison=row.comparison,
            start_version=start_version,
            created_at=row.created_at,
            collected_at=row.collected_at,
        )


class AliasSet(FromJson):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"version": 6, "reason": "7 was worse on tuesday"}}
    )

    version: Int = Field(ge=1, lt=2**31)
    reason: str = Field(default="", max_length=10_000)


class Alias(Answer):
    model_config = shown(
        {
            "name": "champion",
            "object": "alias",
            "family": "patches",
            "version": 6,
            "updated_at": "2026-01-31T12:00:00.000Z",
        }
    )

    name: str
    object: Literal["alias"] = "alias"
    family: str
    version: int
    updated_at: Time

    @classmethod
    def of(cls, family: str, row: models.Alias) -> "Alias":
        return cls(name=row.name, family=family, version=row.version, updated_at=row.updated_at)


class AliasChange(Answer):
    """`version` null: the alias was deleted."""

    model_config = shown(
        {
            "object": "alias_change",
            "version": 6,
            "previous": 7,
            "reason": "7 was worse on tuesday",
            "at": "2026-01-31T12:00:00.000Z",
        }
    )

    object: Literal["alias_change"] = "alias_change"
    version: int | None
    previous: int | None
    reason: str
    at: Time

    @classmethod
    def of(cls, row: models.AliasChange) -> "AliasChange":
        return cls(version=row.version, previous=row.previous, reason=row.reason, at=row.at)


class Contribution(Answer):
    """One row of the ledger: what the steps `[start, end)` of a job added to its family's statistics."""

    model_config = shown(
        {
            "id": 41,
            "object": "contribution",
            "job": "job_01kq3v5n8w6y2d4f7h9k1m3p5r",
            "attempt": 1,
            "sequence": 2,
            "start": 50,
            "end": 100,
            "base_version": 6,
            "rule": "covariance",
            "skipped": 0,
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "size": 18_944,
            "created_at": "2026-01-31T12:00:00.000Z",
        }
    )

    id: int
    object: Literal["contribution"] = "contribution"
    job: str
    attempt: int
    sequence: int
    start: int
    end: int
    base_version: int | None
    rule: str
    skipped: int
    sha256: str
    size: int
    created_at: Time

    @classmethod
    def of(cls, row: models.Contribution) -> "Contribution":
        return cls(
            id=row.id,
            job=row.job_id,
            attempt=row.attempt,
            sequence=row.sequence,
            start=row.start,
            end=row.end,
            base_version=row.base_version,
            rule=row.rule,
            skipped=row.skipped,
            sha256=row.sha256,
            size=row.size,
            created_at=row.created_at,
        )
