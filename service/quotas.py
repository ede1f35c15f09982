"""Quotas of projects: what is refused at submission and upload, and what admission leaves in the queue.

Usage is counted from what there is, in the transaction that adds to it and behind the project's row, so two requests
at once cannot both take the last place. A quota that is not set costs nothing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service import projects
from service.db import key_queries, quota_queries
from service.db.models import Json
from service.errors import QuotaExceeded
from service.limits import Limits
from service.spec import JobSpec, Resources

RETRY_AFTER_S = 30
"""When a place in the queue, or room in the storage, may be free again."""


def check_submit(session: Session, project: str, spec: JobSpec, defaults: Limits, now: datetime) -> None:
    """Raises QuotaExceeded where the project may not have another queued job, or has used its GPUs' time."""
    limits = _behind_the_row(session, project, defaults, now)
    _check_queue(session, project, limits)
    if limits.gpu_seconds is not None and spec.resources.gpus_per_worker > 0:
        used = gpu_seconds(session, now, project).get(project, 0.0)
        if used >= limits.gpu_seconds:
            raise QuotaExceeded(
                f"This project has used {used:.0f} of its {limits.gpu_seconds} GPU-seconds in this month.",
                param="resources.gpus_per_worker",
                retry_after_s=max(1, int((_next_month(now) - now).total_seconds())),
            )
    _check_storage(session, project, 1, limits)


def check_resume(session: Session, project: str, defaults: Limits, now: datetime) -> None:
    """Raises QuotaExceeded where a paused job has no place in the queue: who pauses one does not keep it."""
    _check_queue(session, project, _behind_the_row(session, project, defaults, now))


def _check_queue(session: Session, project: str, limits: Limits) -> None:
    if limits.queued_jobs is not None and quota_queries.queued(session, project) >= limits.queued_jobs:
        raise QuotaExceeded(
            f"This project may have {limits.queued_jobs} queued jobs, and has them: wait until one has started.",
            retry_after_s=RETRY_AFTER_S,
        )


def check_storage(session: Session, project: str, adding: int, defaults: Limits, now: datetime) -> None:
    """Raises QuotaExceeded where the project may not store `adding` bytes more; nobody else adds until the commit."""
    _check_storage(session, project, adding, _behind_the_row(session, project, defaults, now))


def check_room(session: Session, project: str, adding: int, defaults: Limits) -> None:
    """The same as things look now, for a first answer before anything is taken in."""
    _check_storage(session, project, adding, projects.limits(session, project, defaults))


def _check_storage(session: Session, project: str, adding: int, limits: Limits) -> None:
    if limits.storage_bytes is None:
        return
    used = quota_queries.stored_bytes(session, project)
    if used + adding > limits.storage_bytes:
        raise QuotaExceeded(
            f"This project stores {used} of the {limits.storage_bytes} bytes that it may: delete datasets, jobs or "
            "families that are not needed.",
            retry_after_s=RETRY_AFTER_S,
        )


def storage_room(session: Session, project: str, defaults: Limits) -> int | None:
    """Bytes that the project may still store; None: no limit."""
    limits = projects.limits(session, project, defaults)
    if limits.storage_bytes is None:
        return None
    return max(0, limits.storage_bytes - quota_queries.stored_bytes(session, project))


def room_to_run(session: Session, project: str, defaults: Limits) -> int | None:
    """How many jobs more the project may run; None: no limit."""
    limits = projects.limits(session, project, defaults)
    if limits.running_jobs is None:
        return None
    return max(0, limits.running_jobs - quota_queries.running(session).get(project, 0))


@dataclass(frozen=True)
class Admission:
    """Whether a project may start a job with a description, as things stand in one transaction."""

    defaults: Limits
    own: Mapping[str, Limits]
    running: Mapping[str, int]
    """Project → jobs that have an attempt; empty where nobody has such a limit."""
    used: Mapping[str, float]
    """Project → GPU-seconds of this month; the same."""

    def __call__(self, project: str, spec: JobSpec) -> bool:
        return self.why_not(project, spec) is None

    def why_not(self, project: str, spec: JobSpec) -> str | None:
        """For people: which quota it is, and what the job waits for."""
        limits = self.own.get(project, self.defaults)
        if limits.running_jobs is not None and self.running.get(project, 0) >= limits.running_jobs:
            return f"waits until another job of its project ends: {limits.running_jobs} may run at once"
        if spec.resources.gpus_per_worker > 0 and limits.gpu_seconds is not None:
            used = self.used.get(project, 0.0)
            if used >= limits.gpu_seconds:
                return f"waits for the next month: its project has used {used:.0f} of {limits.gpu_seconds} GPU-seconds"
        return None


def admission(session: Session, defaults: Limits, now: datetime) -> Admission:
    own = {row.name: defaults.with_own(row.limits) for row in key_queries.projects(session)}
    every = [defaults, *own.values()]
    running = quota_queries.running(session) if any(each.running_jobs is not None for each in every) else {}
    used = gpu_seconds(session, now) if any(each.gpu_seconds is not None for each in every) else {}
    return Admission(defaults, own, running, used)


def gpu_seconds(session: Session, now: datetime, project: str | None = None) -> dict[str, float]:
    """Project → GPUs times seconds that its attempts have reserved in this calendar month (UTC)."""
    month = _month(now)
    used: dict[str, float] = defaultdict(float)
    for owner, resources, groups, begin, end in quota_queries.reserved_since(session, month, project):
        needs = Resources.model_validate(resources, extra="ignore")
        used[owner] += _worker_seconds(needs, groups, begin, end or now, month) * needs.gpus_per_worker
    return dict(used)


def _worker_seconds(needs: Resources, groups: Sequence[Json], begin: datetime, end: datetime, since: datetime) -> float:
    """Workers times seconds of one attempt: what an elastic one gave back is not counted, what it grew by is."""
    sizes = [int(each["workers"]) for each in groups] or [needs.min_workers]
    begins = [begin, *(datetime.fromisoformat(each["at"]) for each in groups[1:])]
    ends = [*begins[1:], end]
    spans = ((until - max(start, since)).total_seconds() for start, until in zip(begins, ends, strict=True))
    return sum(size * max(0.0, seconds) for size, seconds in zip(sizes, spans, strict=True))


def _behind_the_row(session: Session, project: str, defaults: Limits, now: datetime) -> Limits:
    """The project's limits; where it has one that is counted, its row is held until the transaction ends."""
    limits = projects.limits(session, project, defaults)
    if limits.queued_jobs is not None or limits.storage_bytes is not None or limits.gpu_seconds is not None:
        projects.ensure(session, project, now)
        key_queries.locked_project(session, project)
    return limits


def _month(now: datetime) -> datetime:
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(now: datetime) -> datetime:
    return _month(_month(now) + timedelta(days=32))
