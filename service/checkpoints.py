"""Checkpoints: rows that name files of the storage by content, written after the files are durable.

A job has at most one row per step, one marked best and one marked last.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from service.db.models import Checkpoint, Job
from service.errors import BadReference, NotFound
from service.ids import is_id, new_id
from service.pages import Page, PageRequest, paginate
from service.storage import Stored

Which = Literal["best", "last"] | int

_OF_JOB = re.compile(r"(job_[0-9a-z]+)/(best|last|\d{1,12})")


@dataclass(frozen=True)
class Made:
    """What an attempt publishes: `stored` is the model's state, `state` what a resume needs beside it."""

    step: int
    attempt: int
    stored: Stored
    state: Stored | None
    val_loss: float | None
    is_best: bool
    model: dict[str, Any] | None


def publish(session: Session, job: Job, made: Made, now: datetime) -> Checkpoint:
    """Writes the checkpoint of a locked job, over an earlier attempt's at the same step; it is the last one now."""
    of_job = update(Checkpoint).where(Checkpoint.job_id == job.id)
    session.execute(of_job.values(is_last=False))
    if made.is_best:
        session.execute(of_job.values(is_best=False))
    row = session.scalars(_at(job.id, made.step)).one_or_none()
    if row is None:
        row = Checkpoint(id=new_id("ckpt"), project=job.project, job_id=job.id, step=made.step)
        session.add(row)
    row.attempt, row.val_loss, row.model = made.attempt, made.val_loss, made.model
    row.is_last, row.is_best = True, made.is_best
    row.path, row.sha256, row.size = made.stored.path, made.stored.sha256, made.stored.size
    row.state_path = made.state.path if made.state else None
    row.created_at = now
    session.flush()
    return row


def resumable(session: Session, job_id: str) -> Checkpoint | None:
    """The job's newest checkpoint with all that a resume needs."""
    statement = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.state_path.is_not(None))
    return session.scalars(statement.order_by(Checkpoint.step.desc()).limit(1)).one_or_none()


def list_(session: Session, project: str, job_id: str, page: PageRequest) -> Page[Checkpoint]:
    """A job's checkpoints, newest first."""
    statement = select(Checkpoint).where(Checkpoint.project == project, Checkpoint.job_id == job_id)
    return paginate(session, statement, Checkpoint.step, page, newest_first=True, filters={"job": job_id})


def find(session: Session, project: str, job_id: str, which: Which) -> Checkpoint:
    """The best, the last, or the one at a step. Raises NotFound."""
    if isinstance(which, int):
        statement = _at(job_id, which)
    else:
        mark = Checkpoint.is_best if which == "best" else Checkpoint.is_last
        statement = select(Checkpoint).where(Checkpoint.job_id == job_id, mark)
    shown = select(Job.id).where(Job.project == project, Job.deleted_at.is_(None))
    row = session.scalars(statement.where(Checkpoint.job_id.in_(shown))).one_or_none()
    if row is None:
        name = f"at step {which}" if isinstance(which, int) else f"that is its {which}"
        raise NotFound(f"Job {job_id} has no checkpoint {name}: see GET /v1/jobs/{job_id}/checkpoints.")
    return row


def resolve_reference(session: Session, project: str, ref: str, *, param: str = "init.checkpoint") -> Checkpoint:
    """What `job_…/best`, `job_…/last`, `job_…/<step>` or `ckpt_…` means; BadReference (`checkpoint_not_found`)."""
    if is_id(ref, "ckpt"):
        statement = select(Checkpoint).where(Checkpoint.id == ref, Checkpoint.project == project)
        row = session.scalars(statement).one_or_none()
        if row is not None:
            return row
    elif match := _OF_JOB.fullmatch(ref):
        try:
            return find(session, project, match[1], _which(match[2]))
        except NotFound as error:
            raise BadReference(error.detail, param=param, code="checkpoint_not_found") from error
    raise BadReference(
        f"There is no checkpoint {ref}: write job_…/best, job_…/last, job_…/<step> or ckpt_….",
        param=param,
        code="checkpoint_not_found",
    )


def _which(text: str) -> Which:
    if text == "best":
        return "best"
    return "last" if text == "last" else int(text)


def _at(job_id: str, step: int) -> Select[Checkpoint]:
    return select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step == step)
