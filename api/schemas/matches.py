"""Which families' P suit some data."""

from typing import Literal

from pydantic import ConfigDict, JsonValue

from api.schemas.common import Answer, Json, Time
from service.db import models
from service.matches import MatchSpec

ASKED: dict[str, JsonValue] = {
    "tables": {
        "summary": "Which families' P suit one's own table",
        "value": {
            "dataset": {"id": "ds_01kq3v5n8w6y2d4f7h9k1m3p5r"},
            "task": "regression",
            "model": {"arch": "mlp", "hidden": [64]},
            "families": ["patches"],
        },
    },
}
"""Examples of what is asked."""


class Score(Answer):
    """`score`: the log of the validation loss without P less that with it, after a short training; 0.1 is a loss lower
    by a tenth. `stderr` is its standard error. `diagonal`: the share that P removes of what the gradients' coordinates
    have in common; where nothing was trained (`measured_by: gradients`) it is the score too."""

    score: float
    diagonal: float
    stderr: float | None = None
    val_loss: float | None = None
    lr: float | None = None


class RankedFamily(Score):
    family: str
    version: int
    covered: list[str]
    """Axes of the model that have a matrix in this P."""


class UnsuitableFamily(Answer):
    """`code`: no_champion, no_axis, other_columns or not_measured."""

    family: str
    version: int | None
    code: str
    reason: str


class Baselines(Answer):
    """On the same scale: training without P, and with a basis from the data itself (`warp: data`)."""

    none: Score
    data: Score | None


class Recommendation(Answer):
    warp: Literal["family", "data", "none"]
    family: str | None
    version: int | None
    reason: str


class MatchResult(Answer):
    measured_by: Literal["training", "gradients"]
    steps: int
    learning_rates: list[float]
    axes: int
    """Of the model, that may have a matrix."""
    baselines: Baselines
    matches: list[RankedFamily]
    """Best first."""
    left_out: int
    """Families that cover an axis and diagonalise less than those that were trained with."""
    unsuitable: list[UnsuitableFamily]
    recommendation: Recommendation


class MatchFailure(Answer):
    code: str
    message: str


class FamilyMatch(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "match_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "object": "family_match",
                "state": "succeeded",
                "request": {"dataset": {"builtin": "digits"}, "task": "classification"},
                "dataset_id": "ds_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "model": {"arch": "mlp", "hidden": [64], "activation": "relu", "input": 64, "output": 10},
                "attempts": 1,
                "result": {
                    "measured_by": "training",
                    "steps": 200,
                    "learning_rates": [0.0078125],
                    "axes": 2,
                    "baselines": {
                        "none": {"score": 0.0, "diagonal": 0.0, "stderr": 0.0, "val_loss": 0.4, "lr": 0.0078125},
                        "data": None,
                    },
                    "matches": [],
                    "left_out": 0,
                    "unsuitable": [
                        {"family": "prices", "version": 3, "code": "no_axis", "reason": "Its P has input:8."}
                    ],
                    "recommendation": {
                        "warp": "none",
                        "family": None,
                        "version": None,
                        "reason": "Nothing was better.",
                    },
                },
                "failure": None,
                "created_at": "2026-01-31T12:00:00.000Z",
                "started_at": "2026-01-31T12:00:01.000Z",
                "finished_at": "2026-01-31T12:00:31.000Z",
            }
        }
    )

    id: str
    object: Literal["family_match"] = "family_match"
    state: Literal["queued", "running", "succeeded", "failed"]
    request: Json
    """As it was asked, with what it left open."""
    dataset_id: str
    model: Json
    """With its sizes from the dataset."""
    attempts: int
    result: MatchResult | None
    failure: MatchFailure | None
    """`code`: worker_lost, timeout, or as a job's failure has it."""
    created_at: Time
    started_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, row: models.FamilyMatch) -> "FamilyMatch":
        return cls.model_validate(
            {
                "id": row.id,
                "state": row.state,
                "request": MatchSpec.model_validate(row.request, extra="ignore").model_dump(mode="json"),
                "dataset_id": row.dataset_id,
                "model": row.resolved["model"],
                "attempts": row.attempts,
                "result": row.result,
                "failure": row.failure,
                "created_at": row.created_at,
                "started_at": row.started_at,
                "finished_at": row.finished_at,
            }
        )
