"""What projects use at present, counted from what there is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.db.models import Attempt, Checkpoint, Dataset, Family, Job, Json, StartVersion, WarpVersion
from service.states import JobState

_WITH_ATTEMPT = [state for state in JobState if state.has_attempt]


def queued(session: Session, project: str) -> int:
    statement = select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED, Job.project == project)
    return session.scalar(statement) or 0


def running(session: Session) -> dict[str, int]:
    """Project → jobs that have an attempt."""
    statement = select(Job.project, func.count()).where(Job.state.in_(_WITH_ATTEMPT)).group_by(Job.project)
    return dict(iter(session.execute(statement)))


def stored_bytes(session: Session, project: str) -> int:
    """Uploaded datasets, checkpoints' models, versions of P, starts; what was deleted or collected does not count."""
    datasets = select(func.sum(Dataset.size)).where(
        Dataset.project == project, Dataset.uploaded.is_(True), Dataset.deleted_at.is_(None)
    )
    checkpoints = (
        select(func.sum(Checkpoint.size))
        .outerjoin(Job, Job.id == Checkpoint.job_id)
        .where(Checkpoint.project == project, Job.deleted_at.is_(None))
    )
    versions = [
        select(func.sum(kind.size))
        .join(Family, Family.id == kind.family_id)
        .where(Family.project == project, Family.name.not_like("#%"), kind.collected_at.is_(None))
        for kind in (WarpVersion, StartVersion)
    ]
    return sum(int(session.scalar(each) or 0) for each in (datasets, checkpoints, *versions))


def reserved_since(
    session: Session, since: datetime, project: str | None = None
) -> Sequence[tuple[str, dict[str, Any], list[Json], datetime, datetime | None]]:
    """(project, resources, groups, begin, end) of each attempt with GPUs that was alive after `since`."""
    resources = Job.spec["resources"]
    statement = (
        select(Job.project, resources, Attempt.groups, Attempt.created_at, Attempt.finished_at)
        .join(Job, Job.id == Attempt.job_id)
        .where(or_(Attempt.finished_at.is_(None), Attempt.finished_at > since))
        .where(resources["gpus_per_worker"].as_float() > 0)
    )
    if project is not None:
        statement = statement.where(Job.project == project)
    return [(owner, needs, groups, begin, end) for owner, needs, groups, begin, end in session.execute(statement)]
