"""The dispatcher's side: claims, what is alive, what has no attempt that could obey."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service import cluster, gate
from service.attempts.fence import Failure, Fence, owned, row_of
from service.db import job_queries
from service.db.models import Attempt, Job
from service.resolve import Resolved
from service.spec import JobSpec, read_stored
from service.states import JobState


@dataclass(frozen=True)
class Claim:
    """An attempt that was just made, and all that its launcher needs."""

    fence: Fence
    job: Job
    spec: JobSpec
    resolved: Resolved
    submission_id: str


@dataclass(frozen=True)
class Live:
    """An attempt that owns its job, as the database has it."""

    fence: Fence
    state: JobState
    launcher: str
    submission_id: str
    pid: int | None
    lease_until: datetime | None
    intent: str | None


def claim_next(
    session: Session,
    *,
    now: datetime,
    lease_s: float,
    launcher: str,
    fits: Callable[[JobSpec], bool],
    may_start: Callable[[str, JobSpec], bool] = lambda _project, _spec: True,
) -> Claim | None:
    """Claims the first queued job, by priority and then age, that `fits` and whose project `may_start` it; or None.

    What does not fit is passed over and blocks nobody. Of several claimers at once only one gets a job. The new
    attempt's row, with the id under which it is to be launched, is written in the same transaction.
    """
    lease_until = now + timedelta(seconds=lease_s)
    after: job_queries.Candidate | None = None
    while page := job_queries.queue_page(session, now, after):
        for candidate in page:
            spec = read_stored(candidate.spec)
            is_next = may_start(candidate.project, spec) and fits(spec)
            job = job_queries.take(session, candidate, lease_until) if is_next else None
            if job is not None:
                return _begin(session, job, spec, launcher, now)
        after = page[-1]
    return None


def _begin(session: Session, job: Job, spec: JobSpec, launcher: str, now: datetime) -> Claim:
    fence = Fence(job.id, job.attempt, job.token)
    submission_id = f"{job.id}-{job.attempt}"
    session.add(
        Attempt(
            job_id=job.id,
            number=job.attempt,
            token=job.token,
            submission_id=submission_id,
            launcher=launcher,
            warps=[],
            created_at=now,
        )
    )
    gate.change_state(session, job, JobState.STARTING, "claimed", f"attempt {job.attempt}", now=now)
    session.flush()
    return Claim(fence, job, spec, Resolved.model_validate(job.resolved), submission_id)


def read(session: Session, fence: Fence) -> Claim:
    """What was claimed, for the process that runs it. Raises LostLease."""
    job = owned(session, fence)
    submission_id = row_of(session, fence).submission_id
    return Claim(fence, job, read_stored(job.spec), Resolved.model_validate(job.resolved), submission_id)


def set_pid(session: Session, fence: Fence, pid: int) -> None:
    """Notes the process of an attempt. Raises LostLease."""
    owned(session, fence)
    row_of(session, fence).pid = pid
    session.flush()


def expired(session: Session, now: datetime) -> list[Fence]:
    """Attempts whose lease has run out. End their processes, then `release_lost` them."""
    return [Fence(job.id, job.attempt, job.token) for job in job_queries.expired(session, now)]


def live(session: Session) -> list[Live]:
    """All attempts that own a job: what a dispatcher that comes back must know of."""
    return [_live(session, job) for job in job_queries.with_attempt(session)]


def _live(session: Session, job: Job) -> Live:
    fence = Fence(job.id, job.attempt, job.token)
    row = row_of(session, fence)
    state = JobState(job.state)
    return Live(fence, state, row.launcher, row.submission_id, row.pid, job.lease_until, job.intent)


def fail_unschedulable(session: Session, now: datetime, fits_ever: Callable[[JobSpec], bool]) -> list[str]:
    """Fails queued jobs that nothing in the cluster could hold for longer than their `queue_timeout_s`.

    The time counts from when that was first seen and starts anew once the job would fit. Their ids.
    """
    seen = cluster.seen(session)
    return [job.id for job in job_queries.queued(session) if _is_hopeless(session, job, now, fits_ever, seen)]


def _is_hopeless(
    session: Session, job: Job, now: datetime, fits_ever: Callable[[JobSpec], bool], seen: cluster.ClusterState
) -> bool:
    spec = read_stored(job.spec)
    fits = fits_ever(spec)
    if fits and job.pending_reason is None:
        return False
    locked = job_queries.locked(session, job.id)
    if locked is None or locked.state != JobState.QUEUED:
        return False
    if fits:
        locked.pending_reason = None
        return False
    message = seen.shortage(spec.resources) or "needs more than any part of the cluster has"
    since = _since(locked, now)
    locked.pending_reason = {"code": cluster.TOO_LARGE, "message": message, "since": since.isoformat()}
    if spec.queue_timeout_s is None or (now - since).total_seconds() < spec.queue_timeout_s:
        return False
    failure = Failure("infrastructure", "unschedulable", f"The job {message}: ask for less, or wait longer.", False)
    locked.failure = failure.as_json(None)
    gate.change_state(session, locked, JobState.FAILED, "unschedulable", failure.message, now=now)
    return True


def _since(job: Job, now: datetime) -> datetime:
    stored = (job.pending_reason or {}).get("since")
    return datetime.fromisoformat(stored) if stored else now


def obey_intents(session: Session, now: datetime) -> list[str]:
    """Cancels and pauses the jobs that are to be and have no attempt that could. Their ids."""
    obeyed = []
    for job_id in job_queries.idle_with_intent(session):
        job = job_queries.locked(session, job_id)
        if job is None or job.intent is None or JobState(job.state).has_attempt:
            continue
        if job.intent == "cancel":
            gate.pass_through(session, job, JobState.CANCELLING, JobState.CANCELLED, "cancelled", now=now)
        elif job.state == JobState.PAUSED:
            job.intent = None
        else:
            gate.pass_through(session, job, JobState.PAUSING, JobState.PAUSED, "paused", now=now)
        obeyed.append(job_id)
    return obeyed
