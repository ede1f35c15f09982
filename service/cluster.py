"""The cluster as the dispatcher last saw it, and what could never fit into it."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from service.db import job_queries, system_queries
from service.db.models import Snapshot
from service.db.upsert import upsert
from service.spec import Resources
from service.states import JobState

TOO_LARGE = "too_large"
"""Code of a job's `pending_reason` while nothing in the cluster could ever hold it."""


class Node(BaseModel):
    """One machine; what else the dispatcher says of it is kept and passed on."""

    model_config = ConfigDict(extra="allow")

    id: str
    alive: bool = True
    cpus: float = 0
    gpus: float = 0


class ClusterState(BaseModel):
    model_config = ConfigDict(extra="allow")

    nodes: list[Node] = []
    cpus: float = 0
    gpus: float = 0
    free_cpus: float = 0
    free_gpus: float = 0
    queue: dict[str, int] = {}
    waiting: dict[str, dict[str, str]] = Field(default={}, exclude=True)
    """Lane of the queue → why its first job did not start; shown with the jobs, not with the cluster."""
    dispatcher: str | None = None
    at: datetime | None = None
    """When a dispatcher last wrote; None: none ever did."""

    def shortage(self, resources: Resources) -> str | None:
        """Why a job with these resources can never start here, or None. Nothing is known before the first snapshot."""
        alive = [node for node in self.nodes if node.alive]
        if not alive:
            return None
        needs = ((resources.gpus_per_worker, "gpus", "GPU"), (resources.cpus_per_worker, "cpus", "CPU"))
        for amount, field, unit in needs:
            largest = max(getattr(node, field) for node in alive)
            if amount > largest:
                return f"needs {_count(amount, unit)} a worker, the largest node has {_number(largest)}"
        fits = sum(_workers(node, resources) for node in alive)
        if fits < resources.min_workers:
            return f"needs {resources.min_workers} workers, the cluster has room for {fits}"
        return None


def _workers(node: Node, resources: Resources) -> int:
    by_cpu = int(node.cpus / resources.cpus_per_worker)
    return by_cpu if not resources.gpus_per_worker else min(by_cpu, int(node.gpus / resources.gpus_per_worker))


def _number(amount: float) -> str:
    return f"{amount:g}"


def _count(amount: float, unit: str) -> str:
    return f"{amount:g} {unit}" + ("" if amount == 1 else "s")


def write_snapshot(session: Session, dispatcher: str, data: dict[str, Any], now: datetime) -> None:
    """Replaces what this dispatcher last wrote; its age is the dispatcher's heartbeat."""
    upsert(session, Snapshot, [{"dispatcher": dispatcher, "data": data, "at": now}])


def last_seen(session: Session) -> ClusterState:
    """The newest snapshot; the queue is not counted."""
    row = system_queries.newest_snapshot(session)
    if row is None:
        return ClusterState()
    return ClusterState.model_validate({**row.data, "dispatcher": row.dispatcher, "at": row.at})


def seen(session: Session, project: str | None = None) -> ClusterState:
    """The newest snapshot, with the queue as it is now: everybody's, or that of one project."""
    counts = job_queries.count_unended(session, project)
    queue = {
        "queued": counts.get(JobState.QUEUED, 0),
        "running": sum(count for state, count in counts.items() if state.has_attempt),
    }
    return last_seen(session).model_copy(update={"queue": queue})


def read(session: Session) -> dict[str, Any]:
    """`seen`, as JSON-able data."""
    return seen(session).model_dump(mode="json")
