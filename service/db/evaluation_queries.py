"""SELECTs over the evaluations of a family's versions."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from service.db.models import Job, WarpVersion
from service.states import TERMINAL, JobState

_TERMINAL = sorted(str(state) for state in TERMINAL)


def counts(session: Session, family_id: int) -> tuple[int, int, int]:
    """How many jobs of the family have succeeded, how many have not ended, and its newest version."""
    jobs, left = (
        session.scalar(select(func.count()).select_from(Job).where(chosen)) or 0
        for chosen in (_succeeded(family_id), _unfinished(family_id))
    )
    newest = session.scalar(select(func.max(WarpVersion.version)).where(WarpVersion.family_id == family_id)) or 0
    return jobs, left, newest


def succeeded(session: Session, family_id: int) -> list[Job]:
    """Oldest first."""
    return list(session.scalars(select(Job).where(_succeeded(family_id)).order_by(Job.id)))


def unfinished(session: Session, family_id: int) -> list[Job]:
    return list(session.scalars(select(Job).where(_unfinished(family_id))))


def versions(session: Session, family_id: int) -> list[WarpVersion]:
    """Oldest first."""
    rows = select(WarpVersion).where(WarpVersion.family_id == family_id).order_by(WarpVersion.version)
    return list(session.scalars(rows))


def data_of_jobs(session: Session, job_ids: Iterable[str]) -> dict[str, str]:
    """Job id → sha256 of its data."""
    rows = session.execute(select(Job.id, Job.resolved).where(Job.id.in_(list(job_ids))))
    return {job_id: str(resolved.get("dataset_sha256")) for job_id, resolved in rows}


def _unfinished(family_id: int) -> ColumnElement[bool]:
    return and_(Job.family_id == family_id, Job.state.not_in(_TERMINAL), Job.deleted_at.is_(None))


def _succeeded(family_id: int) -> ColumnElement[bool]:
    return and_(Job.family_id == family_id, Job.state == JobState.SUCCEEDED, Job.deleted_at.is_(None))
