"""Counts over the whole service, for its operators."""

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


def read(session: Session) -> Counts:
    of_families = select(func.count(), func.coalesce(func.sum(Family.accepted), 0)).where(Family.name.not_like("#%"))
    families, contributions = session.execute(of_families).one()
    warps = session.scalar(select(func.count()).select_from(WarpVersion)) or 0
    return Counts(job_queries.count_by_state(session), families, int(contributions), warps)
