"""A job's events: what its followers see, oldest first.

`seq` has no gaps and its order is that of the commits, so a reader that has seen `seq` n has missed nothing before it.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

from sqlalchemy.orm import Session

from service import clock, deliveries
from service.db import event_queries
from service.db.models import Event
from service.ids import new_id
from service.pages import Page, PageRequest, paginate

Type = Literal[
    "job.state",
    "warp.changed",
    "contribution.accepted",
    "contribution.refused",
    "checkpoint.saved",
    "progress",
    "warning",
    "end",
]
TYPES: tuple[Type, ...] = get_args(Type)
Level = Literal["info", "warning", "error"]


def add(
    session: Session,
    job_id: str,
    type_: Type,
    message: str = "",
    data: dict[str, Any] | None = None,
    *,
    level: Level = "info",
    now: datetime | None = None,
) -> Event:
    """Writes the job's next event, and what webhooks are to be told of it; all is seen after the commit."""
    event = Event(
        id=new_id("evt"),
        job_id=job_id,
        seq=event_queries.next_seq(session, job_id),
        type=type_,
        level=level,
        message=message,
        data=data or {},
        created_at=now or clock.now(),
    )
    session.add(event)
    session.flush()
    deliveries.enqueue(session, event)
    return event


def heads(session: Session, job_ids: Collection[str]) -> dict[str, int]:
    """The `seq` of each job's newest event, by one statement."""
    return event_queries.heads(session, job_ids)


def list_(session: Session, job_id: str, page: PageRequest) -> Page[Event]:
    """Oldest first."""
    statement = event_queries.of_job(job_id)
    return paginate(session, statement, Event.seq, page, newest_first=False, filters={"job": job_id})


def after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    """The next events after `seq` (0: from the first), oldest first."""
    return event_queries.after(session, job_id, seq, limit)


def seq_of(session: Session, job_id: str, event_id: str) -> int | None:
    """The place of an event of this job, for a reader that names the last one it saw; None: it is not one of them."""
    return event_queries.seq_of(session, job_id, event_id)
