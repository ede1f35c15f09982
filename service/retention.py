"""What is kept, and for how long: checkpoints by their use, records by their age.

Each job is one short transaction. A checkpoint's row goes first, with its files condemned in the same transaction; the
files follow by `service.garbage`, so whatever is interrupted is gone on with by the next run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from service import matches
from service.db import garbage_queries, job_queries, match_queries, retention_queries
from service.db.models import Checkpoint, Event, Job, LogChunk, MetricPoint
from service.db.session import Database
from service.settings import Settings
from service.states import JobState

RESUMABLE = 2
"""Of a job that has not ended, so many of the newest checkpoints keep what a resume needs."""
_PAGE = 100


@dataclass(frozen=True)
class Verdict:
    """Checkpoints of one job that go, and those that stay without what a resume needs."""

    gone: list[Checkpoint]
    without_state: list[Checkpoint]


def judge(rows: Sequence[Checkpoint], *, ended: bool, deleted: bool, every: int) -> Verdict:
    """Of a job's checkpoints stay the best, the last, those that a resume may need, and those at multiples of `every`.

    `every` in steps; 0: none beside these.
    """
    if deleted:
        return Verdict(list(rows), [])
    with_state = sorted((row for row in rows if row.state_path is not None), key=lambda row: row.step or 0)
    resumable = set() if ended else {row.id for row in with_state[-RESUMABLE:]}
    gone = [
        row
        for row in rows
        if not (row.is_best or row.is_last or row.id in resumable or (every and (row.step or 0) % every == 0))
    ]
    lost = {row.id for row in gone}
    return Verdict(gone, [row for row in with_state if row.id not in resumable and row.id not in lost])


def keep_checkpoints(database: Database, settings: Settings, now: datetime) -> int:
    """Applies the rules to all jobs; how many checkpoints went."""
    gone, after = 0, ""
    while True:
        with database.read() as session:
            ids = retention_queries.jobs_with_checkpoints(session, after, _PAGE)
            busy = [id_ for id_ in ids if _any(_verdict(session, session.get_one(Job, id_), settings))]
        for id_ in busy:
            gone += database.write(partial(_apply, job_id=id_, settings=settings, now=now))
        if not ids:
            return gone
        after = ids[-1]


def _any(verdict: Verdict) -> bool:
    return bool(verdict.gone or verdict.without_state)


def _verdict(session: Session, job: Job, settings: Settings) -> Verdict:
    each = int(job.spec["training"].get("checkpoint_every") or 0)
    return judge(
        retention_queries.checkpoints(session, job.id),
        ended=JobState(job.state).is_terminal,
        deleted=job.deleted_at is not None,
        every=(each or 1) * settings.checkpoints_keep_every,
    )


def _apply(session: Session, job_id: str, settings: Settings, now: datetime) -> int:
    job = job_queries.locked(session, job_id)
    if job is None:
        return 0
    verdict = _verdict(session, job, settings)
    paths = [path for row in verdict.gone for path in (row.path, row.state_path)]
    paths += [row.state_path for row in verdict.without_state]
    for row in verdict.without_state:
        row.state_path = None
    for row in verdict.gone:
        session.delete(row)
    session.flush()
    garbage_queries.condemn(session, sorted({path for path in paths if path is not None}), now)
    return len(verdict.gone)


def keep_matches(database: Database, now: datetime) -> None:
    """Forgets what was measured long ago."""
    database.write(partial(match_queries.forget, before=now - matches.KEPT))


def keep_records(database: Database, settings: Settings, now: datetime) -> None:
    """Forgets logs, events and metrics of jobs that ended long ago or were deleted."""
    for record, days in (
        (LogChunk, settings.keep_logs_days),
        (Event, settings.keep_events_days),
        (MetricPoint, settings.keep_metrics_days),
    ):
        before = now - timedelta(days=days) if days else None
        while True:
            with database.read() as session:
                ids = retention_queries.jobs_with_old(session, record, before, _PAGE)
            for id_ in ids:
                database.write(partial(retention_queries.drop, record=record, job_id=id_))
            if not ids:
                break
