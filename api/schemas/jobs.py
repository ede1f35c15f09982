"""Jobs, as they are described, shown and validated."""

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, JsonValue

from api.schemas.common import Answer, Json, Time, shown
from service.db import models
from service.jobs import Warning

_SPEC: dict[str, JsonValue] = {
    "family": "patches",
    "dataset": {"id": "ds_01kq3v5n8w6y2d4f7h9k1m3p5r"},
    "task": "regression",
    "model": {"arch": "mlp", "hidden": [128]},
    "optimizer": {"name": "warpadam", "lr": 0.002},
    "training": {"steps": 300, "batch_size": 64, "seed": 7},
}


SPECS: dict[str, JsonValue] = {
    "regression": {"summary": "On one's own data, at the family's champion", "value": _SPEC},
    "classification": {
        "summary": "Built-in data, without P",
        "value": {
            "family": "digits",
            "dataset": {"builtin": "digits"},
            "task": "classification",
            "model": {"arch": "convnet", "channels": [16, 32]},
            "optimizer": {"name": "adamw", "lr": 0.001},
            "training": {"epochs": 3},
        },
    },
    "fine-tuning": {
        "summary": "From a base model, following the family's newest P",
        "value": {
            "family": "python",
            "dataset": {"builtin": "python-text", "part": "json"},
            "task": "language_modeling",
            "model": {"arch": "transformer", "layers": 2, "width": 64, "heads": 4, "context": 64},
            "init": {"family": "ckpt_01kq3v5n8w6y2d4f7h9k1m3p5r"},
            "optimizer": {"warp": "latest", "follow": True, "lr": 0.002},
            "training": {"steps": 400},
            "metadata": {"owner": "ada"},
        },
    },
    "another library's model": {
        "summary": "A configuration of transformers, from scratch",
        "value": {
            "family": "python",
            "dataset": {"builtin": "python-text", "part": "json"},
            "task": "language_modeling",
            "model": {"kind": "transformers", "config": {"model_type": "gpt2", "n_layer": 2}, "context": 64},
            "training": {"steps": 400},
        },
    },
}
"""Examples of descriptions."""


class Transition(Answer):
    source: str | None
    target: str
    reason: str
    message: str
    at: Time


class StepVersion(Answer):
    """From `step` on the attempt trained under this version of P; None: under none, or one of `source`."""

    step: int
    version: int | None
    source: str | None = None
    """`data`: a basis from the job's own data (`warp: data`), which is no version."""


class WorkerGroup(Answer):
    """From `step` on so many workers trained; only an elastic job's attempt has more than one group."""

    step: int
    workers: int
    at: Time


class Failure(Answer):
    category: Literal["user", "infrastructure", "preemption"]
    code: str
    message: str
    attempt: int | None = None
    retryable: bool


class Attempt(Answer):
    number: int
    submission_id: str
    start_step: int | None
    warps: list[StepVersion]
    groups: list[WorkerGroup]
    outcome: str | None
    failure: Failure | None
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


class Progress(Answer):
    step: int
    of: int
    eta_s: float | None


class PendingReason(Answer):
    code: str
    message: str


class Job(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "job_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "object": "job",
                "spec": _SPEC,
                "spec_version": 1,
                "state": "running",
                "warp_version": 3,
                "start_version": None,
                "created_at": "2026-01-31T12:00:00.000Z",
                "started_at": "2026-01-31T12:00:01.200Z",
                "finished_at": None,
                "transitions": [],
                "attempts": [],
                "progress": {"step": 120, "of": 300, "eta_s": 4.2},
                "pending_reason": None,
                "result": None,
                "failure": None,
            }
        }
    )

    id: str
    object: Literal["job"] = "job"
    spec: Json
    spec_version: int
    state: str
    warp_version: int | None
    start_version: int | None
    """The start of the family that it begins with; 0: the seed or the base itself."""
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    transitions: list[Transition]
    attempts: list[Attempt]
    progress: Progress
    pending_reason: PendingReason | None
    result: Json | None
    failure: Failure | None


class JobWarning(Answer):
    code: str
    param: str | None
    message: str


class JobValidation(Answer):
    """What `?validate_only=true` answers: the job as it would be made."""

    model_config = shown(
        {
            "object": "job_validation",
            "spec": _SPEC,
            "warp_version": 3,
            "start_version": None,
            "warnings": [
                {"code": "unschedulable", "param": "resources", "message": "No node of the cluster has 4 GPUs."}
            ],
        }
    )

    object: Literal["job_validation"] = "job_validation"
    spec: Json
    warp_version: int | None
    start_version: int | None
    warnings: list[JobWarning]

    @classmethod
    def of(cls, row: models.Job, warnings: Sequence[Warning]) -> "JobValidation":
        told = [JobWarning(code=each.code, param=each.param, message=each.message) for each in warnings]
        return cls(
            spec=row.spec,
            warp_version=row.warp_version,
            start_version=row.resolved.get("start_version"),
            warnings=told,
        )
