"""The queue: its lanes, what projects used of the cluster, and why a job still waits.

A lane holds the queued jobs of one project that need the same, so of its jobs either the first fits or none does: who
claims looks at one job a lane, however many wait. What is decided about them is the dispatcher's (`workers.admission`).
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service import cluster, gate
from service.attempts.fence import Failure
from service.db import job_queries, queue_queries
from service.db.models import Json, ProjectUsage
from service.db.queue_queries import Candidate, Holder
from service.spec import Resources
from service.states import JobState

__all__ = [
    "Candidate",
    "Holder",
    "Reason",
    "account",
    "fail_overdue",
    "heads",
    "holders",
    "lane_of",
    "mark_due",
    "mark_stuck",
    "newest_change",
    "shares_used",
    "why_waiting",
]

MOST_COUNTED = 1000
"""So many jobs ahead are counted; more are said to be more."""
LONGEST_GAP_S = 60.0
"""What no dispatcher was there to see is charged for no longer than this."""
FAILED_AT_ONCE = 100


@dataclass(frozen=True)
class Reason:
    """Why a job waits: `code` for programs, `message` for people."""

    code: str
    message: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message}


def lane_of(project: str, resources: Resources) -> str:
    """The name of the lane of a project's jobs with these resources."""
    least, most = resources.min_workers, resources.max_workers
    return f"{project} {least}-{most}x{resources.cpus_per_worker:g}x{resources.gpus_per_worker:g}"


def heads(session: Session, now: datetime | None = None) -> list[Candidate]:
    """The first job of each lane by priority and then age; with `now`, of those that may be claimed then."""
    return queue_queries.heads(session, now)


def holders(session: Session) -> list[Holder]:
    """The jobs that hold resources."""
    return queue_queries.holders(session)


def newest_change(session: Session) -> int | None:
    """As long as it stays the same, so do the queue and what holds resources; None: nothing is queued."""
    return queue_queries.newest_change(session)


def mark_stuck(session: Session, reasons: Mapping[str, Reason], now: datetime) -> None:
    """Marks the queued jobs of lanes that nothing in the cluster could ever hold, and unmarks those of all others."""
    told = {lane: {**reason.as_json(), "since": now.isoformat()} for lane, reason in reasons.items()}
    queue_queries.mark_stuck(session, told, now)


def mark_due(session: Session, job_id: str, now: datetime) -> None:
    """From now on room is made for this job: it stays so until it starts, whatever else arrives."""
    queue_queries.mark_due(session, job_id, now)


def fail_overdue(session: Session, lanes: Collection[str], now: datetime) -> list[str]:
    """Fails jobs of these lanes that were marked for longer than their `queue_timeout_s`, some at a time; their ids."""
    failed = []
    for job_id in queue_queries.overdue(session, lanes, now, FAILED_AT_ONCE):
        job = job_queries.locked(session, job_id)
        if job is None or job.state != JobState.QUEUED or job.stuck_since is None:
            continue
        why = (job.pending_reason or {}).get("message", "needs more than any part of the cluster has")
        failure = Failure("infrastructure", "unschedulable", f"The job {why}: ask for less, or wait longer.", False)
        job.failure = failure.as_json(None)
        gate.change_state(session, job, JobState.FAILED, "unschedulable", failure.message, now=now)
        failed.append(job_id)
    return failed


def account(session: Session, shares: Mapping[str, float], now: datetime, half_life_s: float) -> None:
    """Charges projects for what they hold at present: share of the cluster times the seconds since the last time.

    Older use counts half after each half-life. Several dispatchers may do this: the time is charged once.
    """
    known = {row.project: row for row in queue_queries.usage(session)}
    for project in shares.keys() - known.keys():
        session.add(ProjectUsage(project=project, share_seconds=0.0, at=now))
    for project, row in known.items():
        passed = max(0.0, (now - row.at).total_seconds())
        held = shares.get(project, 0.0) * min(passed, LONGEST_GAP_S)
        row.share_seconds = row.share_seconds * 0.5 ** (passed / half_life_s) + held
        row.at = max(now, row.at)
        if row.share_seconds < 1e-6 and project not in shares:
            session.delete(row)
    session.flush()


def shares_used(session: Session, now: datetime, half_life_s: float) -> dict[str, float]:
    """Project → its mean share of the cluster, the older the time the less it counts."""
    mean_life_s = half_life_s * 1.4427  # what a project that always held all of it would be charged
    return {
        row.project: row.share_seconds * 0.5 ** (max(0.0, (now - row.at).total_seconds()) / half_life_s) / mean_life_s
        for row in queue_queries.usage_seen(session)
    }


def why_waiting(session: Session, jobs: Sequence[Any], seen: cluster.ClusterState, now: datetime) -> dict[str, Json]:
    """The `pending_reason` of each of these jobs that waits; none for those whose turn it is.

    `jobs` are jobs, or rows with their columns.
    """
    found: dict[str, Json] = {}
    in_line = []
    for job in jobs:
        if job.state == JobState.QUEUED:
            reason = job.pending_reason or _by_itself(job, seen, now)
            if reason:
                found[job.id] = reason
            else:
                in_line.append(job)
    for job_id, (lane, before) in _places(session, in_line).items():
        reason = _behind(seen.waiting.get(lane), before)
        if reason:
            found[job_id] = reason
    return found


def _by_itself(job: Any, seen: cluster.ClusterState, now: datetime) -> Json | None:
    """Why a job waits, whoever else does."""
    if job.not_before is not None and now < job.not_before <= now + queue_queries.LONGEST_WAIT:
        seconds = round((job.not_before - now).total_seconds() + 0.5)
        return Reason("backoff", f"is tried again in {seconds} s, because its last attempt failed").as_json()
    if seen.at is not None and not any(node.alive for node in seen.nodes):
        return Reason("no_cluster", "no node of the cluster answers at present").as_json()
    return None


def _places(session: Session, jobs: Sequence[Any]) -> dict[str, tuple[str, int]]:
    """(lane, how many go before it) of each job, up to MOST_COUNTED; two statements for each lane and priority."""
    together: dict[tuple[str, int], list[str]] = defaultdict(list)
    oldest: dict[tuple[str, int], Any] = {}
    for job in sorted(jobs, key=lambda each: each.id):
        together[job.lane, job.priority].append(job.id)
        oldest.setdefault((job.lane, job.priority), job)
    found = {}
    for (lane, priority), ids in together.items():
        before = queue_queries.ahead(session, oldest[lane, priority], MOST_COUNTED)
        between = []
        if len(ids) > 1 and before < MOST_COUNTED:
            between = queue_queries.following(session, lane, priority, ids[0], ids[-1], MOST_COUNTED)
        found[ids[0]] = lane, before
        for id_ in ids[1:]:
            found[id_] = lane, min(MOST_COUNTED, before + 1 + bisect_left(between, id_))
    return found


def _behind(of_lane: Mapping[str, str] | None, before: int) -> Json | None:
    if before == 0:
        return dict(of_lane) if of_lane else None
    count = f"more than {before}" if before == MOST_COUNTED else str(before)
    message = f"behind {count} job{'' if before == 1 else 's'} of the same size"
    if of_lane:
        message += f", the first of which {of_lane['message']}"
    return Reason("behind", message).as_json()
