"""Checkpoints: rows that name files of the storage by content, written after the files are durable.

A job has at most one row per step, one marked best and one marked last.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from service.db import checkpoint_queries
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
    checkpoint_queries.take_back(session, job.id, "is_last")
    if made.is_best:
        checkpoint_queries.take_back(session, job.id, "is_best")
    row = checkpoint_queries.at(session, job.id, made.step)
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
    return checkpoint_queries.resumable(session, job_id)


def list_(session: Session, project: str, job_id: str, page: PageRequest) -> Page[Checkpoint]:
    """A job's checkpoints, newest first."""
    statement = checkpoint_queries.of_job(project, job_id)
    return paginate(session, statement, Checkpoint.step, page, newest_first=True, filters={"job": job_id})


def find(session: Session, project: str, job_id: str, which: Which) -> Checkpoint:
    """The best, the last, or the one at a step. Raises NotFound."""
    if isinstance(which, int):
        row = checkpoint_queries.of_visible_job(session, project, job_id, step=which)
    else:
        row = checkpoint_queries.of_visible_job(session, project, job_id, mark=f"is_{which}")
    if row is None:
        name = f"at step {which}" if isinstance(which, int) else f"that is its {which}"
        raise NotFound(f"Job {job_id} has no checkpoint {name}: see GET /v1/jobs/{job_id}/checkpoints.")
    return row


def resolve_reference(session: Session, project: str, ref: str, *, param: str = "init.checkpoint") -> Checkpoint:
    """What `job_…/best`, `job_…/last`, `job_…/<step>` or `ckpt_…` means; BadReference (`checkpoint_not_found`)."""
    if is_id(ref, "ckpt"):
        row = checkpoint_queries.by_id(session, project, ref)
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
