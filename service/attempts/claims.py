"""The dispatcher's side: claims, what is alive, what has no attempt that could obey."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service import gate
from service.attempts.fence import Fence, owned, row_of
from service.db import job_queries, queue_queries
from service.db.models import Attempt, Job
from service.resolve import Resolved
from service.spec import JobSpec, read_stored
from service.states import JobState

_TRIES = 20
"""How often a claimer looks again whose job went to another."""


@dataclass(frozen=True)
class Claim:
    """An attempt that was just made, and all that its launcher needs."""

    fence: Fence
    job: Job
    spec: JobSpec
    resolved: Resolved
    submission_id: str
    workers: int
    """How many it begins with."""


@dataclass(frozen=True)
class Living:
    """An attempt that owns its job: whether it gives signs of life, and whether it is to stop."""

    fence: Fence
    lease_until: datetime | None
    """Renewed by each heartbeat."""
    intent: str | None
    starts: bool = False
    """Whether it does not run yet."""


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

    What does not fit is passed over and blocks nobody.
    """
    for _ in range(_TRIES):
        heads = sorted(queue_queries.heads(session, now), key=lambda each: (-each.priority, each.id))
        specs = ((each, read_stored(each.spec)) for each in heads)
        fitting = next((each for each, spec in specs if may_start(each.project, spec) and fits(spec)), None)
        if fitting is None:
            return None
        claim = claim_this(session, fitting, now=now, lease_s=lease_s, launcher=launcher)
        if claim is not None:
            return claim
    return None


def claim_this(
    session: Session,
    candidate: queue_queries.Candidate,
    *,
    now: datetime,
    lease_s: float,
    launcher: str,
    workers: int | None = None,
) -> Claim | None:
    """Claims a queued job; None where somebody else has, or it is queued no more.

    Of several claimers at once only one gets it. The new attempt's row, with the id under which it is to be launched,
    is written in the same transaction. `workers`: how many an elastic job is to begin with; None: its fewest.
    """
    job = queue_queries.take(session, candidate, now + timedelta(seconds=lease_s))
    return None if job is None else _begin(session, job, read_stored(job.spec), launcher, workers, now)


def _begin(session: Session, job: Job, spec: JobSpec, launcher: str, workers: int | None, now: datetime) -> Claim:
    fence = Fence(job.id, job.attempt, job.token)
    submission_id = f"{job.id}-{job.attempt}"
    begins_with = workers or spec.resources.min_workers
    session.add(
        Attempt(
            job_id=job.id,
            number=job.attempt,
            token=job.token,
            submission_id=submission_id,
            launcher=launcher,
            granted=begins_with if spec.resources.is_elastic else None,
            groups=[],
            warps=[],
            created_at=now,
        )
    )
    gate.change_state(session, job, JobState.STARTING, "claimed", f"attempt {job.attempt}", now=now)
    session.flush()
    return Claim(fence, job, spec, Resolved.model_validate(job.resolved), submission_id, begins_with)


def read(session: Session, fence: Fence) -> Claim:
    """What was claimed, for the process that runs it. Raises LostLease."""
    job, row = owned(session, fence), row_of(session, fence)
    spec, resolved = read_stored(job.spec), Resolved.model_validate(job.resolved)
    return Claim(fence, job, spec, resolved, row.submission_id, row.granted or spec.resources.min_workers)


def set_pid(session: Session, fence: Fence, pid: int) -> None:
    """Notes the process of an attempt. Raises LostLease."""
    owned(session, fence)
    row_of(session, fence).pid = pid
    session.flush()


def living(session: Session) -> list[Living]:
    """All attempts that own a job, with what they are judged by many times a second."""
    return [
        Living(Fence(job, attempt, token), lease, intent, state == JobState.STARTING)
        for job, attempt, token, lease, intent, state in queue_queries.leases(session)
    ]


def live(session: Session) -> list[Live]:
    """All attempts that own a job: what a dispatcher that comes back must know of."""
    return [_live(session, job) for job in job_queries.with_attempt(session)]


def _live(session: Session, job: Job) -> Live:
    fence = Fence(job.id, job.attempt, job.token)
    row = row_of(session, fence)
    state = JobState(job.state)
    return Live(fence, state, row.launcher, row.submission_id, row.pid, job.lease_until, job.intent)


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
