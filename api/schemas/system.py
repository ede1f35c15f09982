"""The service about itself: cluster, readiness."""

from typing import Literal

from pydantic import ConfigDict

from api.schemas.common import Answer, Time, shown
from service.cluster import ClusterState, Node


class Cluster(Answer):
    """What the dispatcher last saw; `at` null: none has been seen yet."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "object": "cluster",
                "nodes": [],
                "cpus": 8.0,
                "gpus": 0.0,
                "free_cpus": 6.0,
                "free_gpus": 0.0,
                "used_cpus": 2.0,
                "used_gpus": 0.0,
                "queue": {"queued": 3, "running": 2},
                "dispatcher": "host-1",
                "at": "2026-01-31T12:00:00.000Z",
            }
        },
    )

    object: Literal["cluster"] = "cluster"
    nodes: list[Node]
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    used_cpus: float
    used_gpus: float
    queue: dict[str, int]
    dispatcher: str | None
    at: Time | None

    @classmethod
    def of(cls, state: ClusterState) -> "Cluster":
        used = {"used_cpus": state.cpus - state.free_cpus, "used_gpus": state.gpus - state.free_gpus}
        return cls.model_validate({**dict(state), **(state.model_extra or {}), **used})


class Check(Answer):
    ok: bool
    message: str


class Readiness(Answer):
    model_config = shown({"status": "ready", "checks": {"database": {"ok": True, "message": "answers"}}})

    status: Literal["ready", "not_ready"]
    checks: dict[str, Check]


class Health(Answer):
    model_config = shown({"status": "ok", "auth": "keys"})

    status: Literal["ok"] = "ok"
    auth: Literal["none", "keys"]
    """`none`: it serves this machine only, without keys."""
