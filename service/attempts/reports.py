"""The runner's side while its attempt lives. Everything raises LostLease once another attempt owns the job."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from service import checkpoints, clock, events, gate, logs, metrics
from service.attempts.fence import Fence, Intent, owned, row_of
from service.db import job_queries
from service.db.models import Checkpoint, Job
from service.states import JobState
from service.storage import Stored

_ON_INTENT: dict[Intent, JobState] = {"cancel": JobState.CANCELLING, "pause": JobState.PAUSING}


def start(session: Session, fence: Fence, *, start_step: int, pid: int | None, now: datetime) -> None:
    """The attempt trains from `start_step` on: the job is running. Calling it again changes nothing."""
    job = owned(session, fence)
    row = row_of(session, fence)
    if row.started_at is None:
        row.started_at, row.start_step = now, start_step
        job.progress_step = start_step
    row.pid, row.heartbeat_at = pid, now
    if job.state == JobState.STARTING:
        gate.change_state(session, job, JobState.RUNNING, "started", f"from step {start_step}", now=now)
    session.flush()


def heartbeat(
    session: Session, fence: Fence, *, now: datetime, lease_s: float, step: int | None, eta_s: float | None
) -> Intent | None:
    """Extends the lease and says how far the attempt is; returns what the user asked for meanwhile.

    `step` None: it does not train yet. The first sight of an intent moves the job to cancelling or pausing.
    """
    job = owned(session, fence)
    job.lease_until = now + timedelta(seconds=lease_s)
    job.eta_s = eta_s
    if step is not None:
        job.progress_step = step
    row_of(session, fence).heartbeat_at = now
    intent = _intent(job)
    if intent is not None and job.state != _ON_INTENT[intent]:
        gate.change_state(session, job, _ON_INTENT[intent], "requested", now=now)
    session.flush()
    return intent


def _intent(job: Job) -> Intent | None:
    if job.intent == "cancel":
        return "cancel"
    return "pause" if job.intent == "pause" else None


def add_metrics(session: Session, fence: Fence, points: Sequence[metrics.Point]) -> None:
    owned(session, fence)
    metrics.write(session, fence.job_id, points)


def add_log(session: Session, fence: Fence, start: int, data: bytes, *, most: int) -> None:
    """Keeps what the attempt printed: whole lines, from byte `start` of its output on."""
    owned(session, fence)
    logs.store(session, fence.job_id, fence.attempt, start, data, most=most)


def add_event(
    session: Session, fence: Fence, type_: events.Type, level: events.Level, message: str, data: dict[str, Any]
) -> None:
    owned(session, fence)
    events.add(session, fence.job_id, type_, message, data, level=level)


def add_warp(session: Session, fence: Fence, step: int, version: int | None, source: str | None = None) -> None:
    """Records that the attempt trains under this version of P from `step` on, or `source`: under a basis of its own.

    A change, not the attempt's first version, is told to the job's followers as `warp.changed`.
    """
    owned(session, fence)
    row = row_of(session, fence)
    before = row.warps[-1]["version"] if row.warps else None
    is_first = not row.warps
    if not is_first and before == version:
        return
    used = {"step": step, "version": version} | ({"source": source} if source else {})
    row.warps = [*row.warps, used]
    session.flush()
    if not is_first:
        data = {"step": step, "from": before, "to": version}
        events.add(session, fence.job_id, "warp.changed", f"version {version} from step {step}", data)


def publish_checkpoint(
    session: Session,
    fence: Fence,
    *,
    step: int,
    stored: Stored,
    state: Stored | None,
    val_loss: float | None,
    is_best: bool,
    model: dict[str, Any] | None,
    now: datetime | None = None,
) -> Checkpoint:
    """Names a checkpoint whose files are durable: `stored` the model's state, `state` what a resume needs beside it."""
    job = owned(session, fence)
    made = checkpoints.Made(step, fence.attempt, stored, state, val_loss, is_best, model)
    row = checkpoints.publish(session, job, made, now or clock.now())
    data = {"id": row.id, "step": step, "val_loss": val_loss, "is_best": is_best}
    events.add(session, job.id, "checkpoint.saved", f"step {step}", data, now=now)
    return row


def latest_checkpoint(session: Session, job_id: str) -> Checkpoint | None:
    """The one that the next attempt resumes from: the last whose optimizer state was stored too."""
    return checkpoints.resumable(session, job_id)


def running_seconds(session: Session, job_id: str, now: datetime) -> float:
    """How long the job has trained, over all attempts, pauses left out: what `timeout_s` limits."""
    spans = (
        (row.finished_at or now) - row.started_at
        for row in job_queries.attempts(session, job_id)
        if row.started_at is not None
    )
    return sum((span.total_seconds() for span in spans), 0.0)
