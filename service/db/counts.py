"""Counts of what a project has, for its operators."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db import job_queries
from service.db.models import Family, WarpVersion
from service.states import JobState


@dataclass(frozen=True)
class Counts:
    jobs: dict[JobState, int]
    families: int
    contributions: int
    warps: int


def read(session: Session, project: str) -> Counts:
    visible = (Family.project == project, Family.name.not_like("#%"))
    of_families = select(func.count(), func.coalesce(func.sum(Family.accepted), 0)).where(*visible)
    families, contributions = session.execute(of_families).one()
    of_warps = select(func.count()).select_from(WarpVersion).join(Family, Family.id == WarpVersion.family_id)
    warps = session.scalar(of_warps.where(Family.project == project)) or 0
    return Counts(job_queries.count_by_state(session, project), families, int(contributions), warps)
