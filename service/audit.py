"""The audit log: who changed what, when, and from where. One row per change, written in the change's own transaction.

Nothing here, and no statement that reaches the database, alters or removes a row.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from service.access import Caller
from service.db import key_queries
from service.db.models import AuditRecord
from service.ids import new_id
from service.pages import Page, PageRequest, paginate


def record(
    session: Session,
    caller: Caller,
    action: str,
    target: str,
    data: Mapping[str, Any] | None = None,
    *,
    now: datetime,
) -> None:
    """Notes that `caller` did `action` (`job.submit`, …) to `target`. `data` never holds a secret."""
    session.add(
        AuditRecord(
            id=new_id("aud"),
            project=caller.project,
            actor=caller.actor,
            action=action,
            target=target[:200],
            data=dict(data or {}),
            address=caller.address[:64],
            request_id=caller.request_id,
            created_at=now,
        )
    )
    session.flush()


def list_(
    session: Session,
    project: str,
    page: PageRequest,
    *,
    actions: Sequence[str] = (),
    actors: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Page[AuditRecord]:
    """Newest first. Each filter takes several values and means any of them; different filters must all hold."""
    filters = {"project": project, "action": sorted(actions), "actor": sorted(actors), "target": sorted(targets)}
    statement = key_queries.audit(project, actions=actions, actors=actors, targets=targets)
    return paginate(session, statement, AuditRecord.id, page, newest_first=True, filters=filters)
