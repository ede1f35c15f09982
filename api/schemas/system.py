"""The service about itself: cluster, readiness."""

from typing import Literal

from pydantic import ConfigDict

from api.schemas.common import Answer, Time
from service.cluster import ClusterState, Node


class Cluster(Answer):
    """What the dispatcher last saw; `at` null: none has been seen yet."""

    model_config = ConfigDict(extra="allow")

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
    status: Literal["ready", "not_ready"]
    checks: dict[str, Check]


class Health(Answer):
    status: Literal["ok"] = "ok"
    auth: Literal["none", "keys"]
    """`none`: it serves this machine only, without keys."""
