"""Versions of a family's starts."""

from typing import Literal

from pydantic import ConfigDict

from api.schemas.common import Answer, Json, Time
from service.db import models


class StartVersion(Answer):
    """Weights that a family hands out for one architecture; `anchor` says which, and what they grew from."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "version": 3,
                "object": "start",
                "family": "patches",
                "anchor": "9f86d081884c",
                "base_sha256": None,
                "model": {"arch": "mlp", "hidden": [128], "activation": "relu", "input": 48, "output": 16},
                "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "size": 91_000,
                "rule": "reptile-precise",
                "step": 1.0,
                "round": 1,
                "parent": 0,
                "warp_version": 7,
                "jobs": [{"job": "job_01kq3v5n8w6y2d4f7h9k1m3p5r", "dataset": "ds_01kq3v5n8w6y2d4f7h9k1m3p5r"}],
                "datasets": ["ds_01kq3v5n8w6y2d4f7h9k1m3p5r"],
                "created_at": "2026-01-31T12:00:00.000Z",
                "collected_at": None,
            }
        }
    )

    version: int
    object: Literal["start"] = "start"
    family: str
    anchor: str
    base_sha256: str | None
    model: Json
    sha256: str
    size: int
    rule: str
    step: float
    round: int
    parent: int
    warp_version: int | None
    jobs: list[Json]
    datasets: list[str]
    created_at: Time
    collected_at: Time | None
    """When retention removed its file: nothing used it any more."""

    @classmethod
    def of(cls, family: str, row: models.StartVersion) -> "StartVersion":
        return cls(
            version=row.version,
            family=family,
            anchor=row.anchor,
            base_sha256=None if row.identity == "family" else row.identity,
            model=row.model,
            sha256=row.sha256,
            size=row.size,
            rule=row.rule,
            step=row.step,
            round=row.round,
            parent=row.parent,
            warp_version=row.warp_version,
            jobs=row.jobs,
            datasets=row.datasets,
            created_at=row.created_at,
            collected_at=row.collected_at,
        )
