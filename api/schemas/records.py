"""What jobs leave: metrics, events, checkpoints, what they printed."""

from typing import Any, Literal

from pydantic import ConfigDict

from api.schemas.common import Answer, Json, Time, shown
from service.db import models
from service.logs import Line


class MetricPoint(Answer):
    step: int
    value: float
    at: Time


class Metrics(Answer):
    model_config = shown(
        {
            "object": "metrics",
            "data": {"val_loss": [{"step": 25, "value": 0.031, "at": "2026-01-31T12:00:03.000Z"}]},
        }
    )

    object: Literal["metrics"] = "metrics"
    data: dict[str, list[MetricPoint]]


class Event(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "evt_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "object": "event",
                "type": "job.state",
                "level": "info",
                "message": "running",
                "data": {"from": "starting", "to": "running"},
                "created_at": "2026-01-31T12:00:01.200Z",
            }
        }
    )

    id: str
    object: Literal["event"] = "event"
    type: str
    level: str
    message: str
    data: Json
    created_at: Time

    @classmethod
    def of(cls, row: models.Event) -> "Event":
        return cls(
            id=row.id,
            type=row.type,
            level=row.level,
            message=row.message,
            data=row.data,
            created_at=row.created_at,
        )


class Checkpoint(Answer):
    """`job` null: it was uploaded."""

    model_config = shown(
        {
            "id": "ckpt_01kq3v5n8w6y2d4f7h9k1m3p5r",
            "object": "checkpoint",
            "job": "job_01kq3v5n8w6y2d4f7h9k1m3p5r",
            "step": 300,
            "attempt": 1,
            "is_best": True,
            "is_last": True,
            "val_loss": 0.0213,
            "model": {"arch": "mlp", "hidden": [128], "activation": "relu", "input": 48, "output": 16},
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "size": 91_000,
            "created_at": "2026-01-31T12:00:00.000Z",
        }
    )

    id: str
    object: Literal["checkpoint"] = "checkpoint"
    job: str | None
    step: int | None
    attempt: int | None
    is_best: bool
    is_last: bool
    val_loss: float | None
    model: dict[str, Any] | None
    sha256: str
    size: int
    created_at: Time

    @classmethod
    def of(cls, row: models.Checkpoint) -> "Checkpoint":
        return cls(
            id=row.id,
            job=row.job_id,
            step=row.step,
            attempt=row.attempt,
            is_best=row.is_best,
            is_last=row.is_last,
            val_loss=row.val_loss,
            model=row.model,
            sha256=row.sha256,
            size=row.size,
            created_at=row.created_at,
        )


class LogLine(Answer):
    """A line that an attempt printed."""

    model_config = shown({"id": "17", "object": "log", "attempt": 1, "message": "epoch 1"})

    id: str
    object: Literal["log"] = "log"
    attempt: int
    message: str

    @classmethod
    def of(cls, line: Line) -> "LogLine":
        return cls(id=str(line.position), attempt=line.attempt, message=line.text)
