"""SELECTs over checkpoints, and the UPDATE that takes back their marks."""

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from service.db.models import Checkpoint, Job


def of_job(project: str, job_id: str) -> Select[Checkpoint]:
    return select(Checkpoint).where(Checkpoint.project == project, Checkpoint.job_id == job_id)


def by_id(session: Session, project: str, checkpoint_id: str) -> Checkpoint | None:
    statement = select(Checkpoint).where(Checkpoint.id == checkpoint_id, Checkpoint.project == project)
    return session.scalars(statement).one_or_none()


def at(session: Session, job_id: str, step: int) -> Checkpoint | None:
    statement = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step == step)
    return session.scalars(statement).one_or_none()


def resumable(session: Session, job_id: str) -> Checkpoint | None:
    statement = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.state_path.is_not(None))
    return session.scalars(statement.order_by(Checkpoint.step.desc()).limit(1)).one_or_none()


def best_or_last(session: Session, job_id: str) -> Checkpoint | None:
    """The job's checkpoint of the best validation loss; the last one where none is marked."""
    statement = select(Checkpoint).where(Checkpoint.job_id == job_id, or_(Checkpoint.is_best, Checkpoint.is_last))
    return session.scalars(statement.order_by(Checkpoint.is_best.desc()).limit(1)).one_or_none()


def of_visible_job(
    session: Session, project: str, job_id: str, *, step: int | None = None, mark: str | None = None
) -> Checkpoint | None:
    """The checkpoint at a step, or the one with a mark (`is_best`, `is_last`), of a job that is not deleted."""
    statement = of_job(project, job_id).join(Job, Job.id == Checkpoint.job_id)
    statement = statement.where(Job.project == project, Job.deleted_at.is_(None))
    if mark is not None:
        column: InstrumentedAttribute[bool] = getattr(Checkpoint, mark)
        statement = statement.where(column.is_(True))
    else:
        statement = statement.where(Checkpoint.step == step)
    return session.scalars(statement).one_or_none()


def take_back(session: Session, job_id: str, mark: str) -> None:
    """No checkpoint of the job has the mark any more."""
    session.execute(update(Checkpoint).where(Checkpoint.job_id == job_id).values({mark: False}))


def uploaded(session: Session, project: str, sha256: str) -> Checkpoint | None:
    """The newest checkpoint with this content that is no job's."""
    found = select(Checkpoint).where(
        Checkpoint.project == project, Checkpoint.sha256 == sha256, Checkpoint.job_id.is_(None)
    )
    return session.scalars(found.order_by(Checkpoint.id.desc()).limit(1)).one_or_none()
