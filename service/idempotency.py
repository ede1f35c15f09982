"""Stored answers of executed POSTs, by project, path and Idempotency-Key, kept 24 hours.

`begin` runs in a transaction of its own, so that others see the key taken; `finish` in the transaction of the work, so
that there is no moment in which the work is done and its answer unknown; `abandon` where the work failed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service.db import system_queries
from service.db.insert import insert_new
from service.db.models import IdempotencyKey
from service.errors import IdempotencyInFlight, IdempotencyMismatch

KEPT = timedelta(hours=24)
IN_FLIGHT_AT_MOST = timedelta(minutes=15)
"""A request without an answer after this long died with its process; its key is free again."""


@dataclass(frozen=True)
class StoredAnswer:
    status: int
    headers: Mapping[str, str]
    body: str


def begin(session: Session, project: str, path: str, key: str, body_sha256: str, now: datetime) -> StoredAnswer | None:
    """Takes the key (None: go on and execute), or gives the answer to replay.

    Raises IdempotencyMismatch where the key was used with another body, IdempotencyInFlight while the first runs.
    """
    system_queries.free_keys(session, answered=now - KEPT, unanswered=now - IN_FLIGHT_AT_MOST)
    taken = insert_new(
        session, IdempotencyKey, project=project, path=path, key=key, body_sha256=body_sha256, created_at=now
    )
    if taken:
        return None
    row = session.get_one(IdempotencyKey, (project, path, key), populate_existing=True)
    if row.body_sha256 != body_sha256:
        raise IdempotencyMismatch("This Idempotency-Key was used with another body: send a new key with a new request.")
    if row.status is None:
        raise IdempotencyInFlight("The first request with this Idempotency-Key is still running: try again shortly.")
    return StoredAnswer(row.status, row.headers or {}, row.body or "")


def finish(
    session: Session, project: str, path: str, key: str, *, status: int, headers: Mapping[str, str], body: str
) -> None:
    """Stores the answer of the request that took the key."""
    row = session.get_one(IdempotencyKey, (project, path, key))
    row.status, row.headers, row.body = status, dict(headers), body
    session.flush()


def abandon(session: Session, project: str, path: str, key: str) -> None:
    """Frees the key of a request that was not executed; an answer that is stored stays."""
    system_queries.free_unanswered_key(session, project, path, key)
