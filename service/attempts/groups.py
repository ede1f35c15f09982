"""The groups of workers that an attempt trains with, one after the other; only that of an elastic job has several.

`granted` is how many it may have: the dispatcher's word while it trains, the runner's own where workers were lost, each
under the lock of admission. The runner follows with a new group; until then the larger of both numbers is reserved.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from service import events, learning
from service.attempts.fence import Fence, owned, row_of
from service.db.models import Attempt


@dataclass(frozen=True)
class Group:
    """One group of workers, as it begins."""

    number: int
    """0 is the attempt's first."""
    workers: int
    watermark: int
    """The step up to which the job's contributions are acknowledged; what earlier groups still send is refused."""


def begin_group(session: Session, fence: Fence, *, step: int, workers: int, now: datetime) -> Group:
    """The attempt goes on from `step` with so many workers, and its earlier groups have ended. Raises LostLease."""
    job, row = owned(session, fence), row_of(session, fence)
    before = row.workers
    row.workers = workers
    row.granted = None if row.granted is None else workers
    row.groups = [*row.groups, {"step": step, "workers": workers, "at": now.isoformat()}]
    number = len(row.groups) - 1
    session.flush()
    if number > 0:
        each = "1 worker trains" if workers == 1 else f"{workers} workers train"
        data = {"step": step, "of": job.progress_of, "workers": workers, "before": before}
        events.add(session, job.id, "progress", f"{each} from step {step} on, before it were {before}", data, now=now)
    return Group(number, workers, learning.watermark(session, job.id))


def granted(session: Session, fence: Fence) -> int | None:
    """How many workers the attempt may have now; None where that does not change. Raises LostLease."""
    owned(session, fence)
    return row_of(session, fence).granted


def grant(session: Session, job_id: str, attempt: int, workers: int) -> None:
    """Lets an elastic attempt have so many workers. Only behind the lock of admission."""
    session.get_one(Attempt, (job_id, attempt), populate_existing=True).granted = workers
    session.flush()
