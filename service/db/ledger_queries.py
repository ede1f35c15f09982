"""SELECTs over contributions and the sums of ended jobs."""

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.db.models import Contribution, Job, JobSum
from service.states import TERMINAL

_TERMINAL = sorted(str(state) for state in TERMINAL)


def watermark(session: Session, job_id: str) -> int:
    """The step up to which the job's contributions are acknowledged; 0 where there are none."""
    return session.scalar(select(func.max(Contribution.end)).where(Contribution.job_id == job_id)) or 0


def at(session: Session, job_id: str, start: int) -> Contribution | None:
    return session.scalar(select(Contribution).where(Contribution.job_id == job_id, Contribution.start == start))


def rule(session: Session, family_id: int) -> str | None:
    """The rule of the family's first contribution; None where there is none."""
    first = select(Contribution.rule).where(Contribution.family_id == family_id).order_by(Contribution.id).limit(1)
    return session.scalar(first)


def last(session: Session, job_id: str) -> Contribution | None:
    one = select(Contribution).where(Contribution.job_id == job_id).order_by(Contribution.start.desc()).limit(1)
    return session.scalar(one)


def of_family(session: Session, family_id: int) -> list[Contribution]:
    """Every row of the family's ledger, oldest first."""
    rows = select(Contribution).where(Contribution.family_id == family_id).order_by(Contribution.id)
    return list(session.scalars(rows))


def of_job(session: Session, job_id: str) -> list[Contribution]:
    rows = select(Contribution).where(Contribution.job_id == job_id).order_by(Contribution.start)
    return list(session.scalars(rows))


def sums(session: Session, family_id: int) -> list[JobSum]:
    return list(session.scalars(select(JobSum).where(JobSum.family_id == family_id).order_by(JobSum.job_id)))


def sums_of(session: Session, job_ids: Iterable[str]) -> list[JobSum]:
    return list(session.scalars(select(JobSum).where(JobSum.job_id.in_(list(job_ids)))))


def foldable(session: Session, family_id: int) -> list[str]:
    """Jobs of the family that have ended and whose contributions still have files."""
    jobs = (
        select(Contribution.job_id)
        .join(Job, Job.id == Contribution.job_id)
        .where(Contribution.family_id == family_id, Contribution.path.is_not(None), Job.state.in_(_TERMINAL))
    )
    return list(session.scalars(jobs.distinct().order_by(Contribution.job_id)))


def named_paths(session: Session, paths: Iterable[str]) -> set[str]:
    """Those of the paths that some contribution still names."""
    named = session.scalars(select(Contribution.path).where(Contribution.path.in_(list(paths))))
    return {path for path in named if path is not None}


def datasets(session: Session, job_ids: Iterable[str]) -> dict[str, str]:
    """Job id → dataset id."""
    rows = session.execute(select(Job.id, Job.dataset_id).where(Job.id.in_(list(job_ids))))
    return dict(iter(rows))
