"""Jobs: submit, look, and say what is wanted. Use cases never commit.

The user's word is an intent: what a living attempt must do first (stop, save) is the attempt's, and the state changes
when it has seen the intent. A job without an attempt obeys at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from service import clock, cluster, gate, queue
from service.db import job_queries, job_search
from service.db.models import Attempt, Dataset, Job, JobLabel, Transition
from service.errors import InvalidRequest, InvalidState, NotFound
from service.gate import change_state
from service.ids import new_id
from service.pages import Page, PageRequest, page_of_ids
from service.resolve import Limits, Resolution, Resolved, Warning, resolve
from service.spec import SPEC_VERSION, JobSpec
from service.states import JobState

__all__ = [
    "Limits",
    "Look",
    "Place",
    "Resolved",
    "Submission",
    "Version",
    "Warning",
    "attempts",
    "cancel",
    "change_state",
    "delete",
    "dry_run",
    "get",
    "list_",
    "look",
    "no_job",
    "pause",
    "resume",
    "submit",
    "transitions",
    "version",
    "versions",
]


Place = tuple[str, str]
"""Project and id of a job."""
Version = tuple[int, int, int]
"""Of a job that has ended: when, its fencing token, its last event. What is shown of it stays as long as they do."""


@dataclass(frozen=True, slots=True)
class Look:
    """All that is shown of a job: its own row and others, JSON as text and times as milliseconds; and why it waits."""

    job: Row[Any]
    transitions: Sequence[Row[Any]]
    attempts: Sequence[Row[Any]]
    pending_reason: Mapping[str, Any] | None


@dataclass(frozen=True)
class Submission:
    job: Job
    warnings: list[Warning]


def submit(session: Session, project: str, spec: JobSpec, dataset: Dataset, limits: Limits) -> Submission:
    """Makes the job, queued, with everything resolved that its description names.

    Raises InvalidRequest, BadReference, DatasetNotReady and Forbidden, each saying what to change.
    """
    now = clock.now()
    resolution = resolve(session, project, spec, dataset, limits)
    job = _row(project, resolution, dataset, now)
    session.add(job)
    session.flush()
    session.add_all(
        JobLabel(job_id=job.id, key=key, project=project, value=value) for key, value in spec.metadata.items()
    )
    gate.enter(session, job, now)
    return Submission(job, resolution.warnings)


def dry_run(session: Session, project: str, spec: JobSpec, dataset: Dataset, limits: Limits) -> Submission:
    """What `submit` would do, or the error that it would raise; leaves nothing behind. The job is not a stored one."""
    savepoint = session.begin_nested()
    try:
        resolution = resolve(session, project, spec, dataset, limits)
        return Submission(_row(project, resolution, dataset, clock.now()), resolution.warnings)
    finally:
        savepoint.rollback()


def _row(project: str, resolution: Resolution, dataset: Dataset, now: datetime) -> Job:
    spec, resolved, pending = resolution.spec, resolution.resolved, resolution.pending_reason
    stored = spec.model_dump(mode="json")
    if resolved.init_seed is not None:
        stored["init_seed"] = resolved.init_seed  # CONTRACT, Files: returned with the spec; no part of a request
    return Job(
        id=new_id("job"),
        project=project,
        family_id=resolution.family.id,
        dataset_id=dataset.id,
        state=JobState.QUEUED,
        priority=spec.priority,
        lane=queue.lane_of(project, spec.resources),
        queued_at=now,
        stuck_since=now if pending else None,
        queue_timeout_s=spec.queue_timeout_s,
        base_path=resolved.base.path if resolved.base else None,
        spec=stored,
        spec_version=SPEC_VERSION,
        resolved=resolved.model_dump(mode="json"),
        warp_version=resolved.warp_version,
        pending_reason={**pending, "since": now.isoformat()} if pending else None,
        token=0,
        attempt=0,
        progress_step=0,
        progress_of=resolved.steps,
        event_seq=0,
        created_at=now,
    )


def get(session: Session, project: str, job_id: str) -> Job:
    """Raises NotFound."""
    job = session.scalars(job_queries.visible(project).where(Job.id == job_id)).one_or_none()
    if job is None:
        raise no_job(job_id)
    return job


def no_job(job_id: str) -> NotFound:
    """There is none, or it is not the caller's: nobody learns which."""
    return NotFound(f"There is no job {job_id}.")


def list_(
    session: Session,
    project: str,
    page: PageRequest,
    states: Sequence[str] = (),
    families: Sequence[str] = (),
    metadata: Mapping[str, Sequence[str]] | None = None,
) -> Page[str]:
    """Ids, newest first. Each filter takes several values and means any of them; different filters must all hold."""
    labels = metadata or {}
    unknown = sorted(set(states) - set(JobState))
    if unknown:
        raise InvalidRequest(f"{unknown[0]} is no state: use {', '.join(JobState)}.", param="state")
    filters = {
        "project": project,
        "state": sorted(states),
        "family": sorted(families),
        "metadata": {key: sorted(values) for key, values in labels.items()},
    }
    wanted = job_search.Filter(states, families, labels)
    return page_of_ids(page, filters, lambda before, most: job_search.newest(session, project, wanted, before, most))


def look(session: Session, wanted: Collection[Place], now: datetime) -> dict[Place, Look]:
    """Jobs with all that is shown of them, by few statements however many they are.

    Each is wanted by its project and id: of another project's job no more is read than of one that is not there.
    """
    rows = [row for row in job_queries.shown(session, wanted) if (row.project, row.id) in wanted]
    ids = [row.id for row in rows]
    if not rows:
        return {}
    histories, tries = job_queries.transitions_of(session, ids), job_queries.attempts_of(session, ids)
    queued = [row.id for row in rows if row.state == JobState.QUEUED]
    why: Mapping[str, Mapping[str, Any]] = {}
    if queued:
        why = queue.why_waiting(session, job_queries.in_line(session, queued), cluster.last_seen(session), now)
    return {
        (row.project, row.id): Look(row, histories.get(row.id, ()), tries.get(row.id, ()), why.get(row.id))
        for row in rows
    }


def version(row: Row[Any]) -> Version | None:
    """Of a job's row as `Look` has it; None while the job has not ended."""
    return (row.finished_at, row.token, row.event_seq) if JobState(row.state).is_terminal else None


def versions(session: Session, wanted: Collection[Place]) -> dict[Place, Version]:
    """Of those of these jobs that have ended and are not deleted, by one statement."""
    rows = job_queries.versions(session, {id_ for _, id_ in wanted})
    found = {(row.project, row.id): version(row) for row in rows}
    return {place: found_version for place, found_version in found.items() if found_version and place in wanted}


def transitions(session: Session, job_id: str) -> Sequence[Transition]:
    """Oldest first."""
    return job_queries.transitions(session, job_id)


def attempts(session: Session, job_id: str) -> Sequence[Attempt]:
    """Oldest first."""
    return job_queries.attempts(session, job_id)


def cancel(session: Session, project: str, job_id: str, now: datetime) -> Job:
    """Cancels a job that has not ended; again is no error. InvalidState where it ended otherwise."""
    job = _locked(session, project, job_id)
    state = JobState(job.state)
    if state is JobState.CANCELLED:
        return job
    if state.is_terminal:
        raise InvalidState(f"Job {job_id} has {state} already: there is nothing to cancel.")
    if state.has_attempt:
        job.intent = "cancel"
        session.flush()
    else:
        gate.pass_through(session, job, JobState.CANCELLING, JobState.CANCELLED, "cancelled", now=now)
    return job


def pause(session: Session, project: str, job_id: str, now: datetime) -> Job:
    """Pauses a job: what runs saves a checkpoint and stops; again is no error. InvalidState where it has ended."""
    job = _locked(session, project, job_id)
    state = JobState(job.state)
    if state in (JobState.PAUSED, JobState.PAUSING) and job.intent != "cancel":
        return job
    if state.is_terminal or state is JobState.CANCELLING or job.intent == "cancel":
        what = f"is {state}" if state.is_terminal else "is being cancelled"
        raise InvalidState(f"Job {job_id} {what}: it cannot be paused.")
    if state.has_attempt:
        job.intent = "pause"
        session.flush()
    else:
        gate.pass_through(session, job, JobState.PAUSING, JobState.PAUSED, "paused", now=now)
    return job


def resume(session: Session, project: str, job_id: str, now: datetime) -> Job:
    """Queues a paused job again; one that was to be paused and has not begun to simply goes on.

    InvalidState for all others: while it is pausing, wait until it is paused.
    """
    job = _locked(session, project, job_id)
    state = JobState(job.state)
    if state is JobState.PAUSED:
        job.not_before = None
        gate.change_state(session, job, JobState.QUEUED, "resumed", now=now)
    elif state in (JobState.STARTING, JobState.RUNNING) and job.intent == "pause":
        job.intent = None
        session.flush()
    else:
        wait = ": wait until it is paused" if state is JobState.PAUSING else ""
        raise InvalidState(f"Job {job_id} is {state}, and only a paused job can be resumed{wait}.")
    return job


def delete(session: Session, project: str, job_id: str, now: datetime) -> None:
    """Hides an ended job; what it contributed stays in P. InvalidState where it has not ended."""
    job = _locked(session, project, job_id)
    if not JobState(job.state).is_terminal:
        raise InvalidState(f"Job {job_id} is {JobState(job.state)}: cancel it, and delete it when it has ended.")
    job.deleted_at = now
    session.flush()


def _locked(session: Session, project: str, job_id: str) -> Job:
    job = job_queries.locked(session, job_id)
    if job is None or job.project != project or job.deleted_at is not None:
        raise no_job(job_id)
    return job
