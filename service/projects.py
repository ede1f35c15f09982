"""Projects: whose keys, jobs, data and families are whose, and what each may have."""

import re
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from service import audit
from service.access import Caller
from service.db import key_queries
from service.db.insert import insert_new
from service.db.models import Project
from service.errors import InvalidRequest
from service.limits import Limits
from service.spec import NAME_PATTERN


def ensure(session: Session, name: str, now: datetime) -> Project:
    """The project's row, made on first use. InvalidRequest for a bad name."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidRequest(
            f"{name!r}: a project's name has 1 to 64 characters of a-z, 0-9 and -, and does not begin with -",
            param="project",
        )
    insert_new(session, Project, name=name, limits={}, created_at=now)
    return session.get_one(Project, name)


def limits(session: Session, name: str, defaults: Limits) -> Limits:
    """What holds for the project; `defaults` are the server's."""
    row = session.get(Project, name)
    return defaults if row is None else defaults.with_own(row.limits)


def set_limits(
    session: Session, caller: Caller, changes: Mapping[str, int | None], reset: set[str], now: datetime
) -> Project:
    """Gives the caller's project limits of its own (None: no limit), and the server's back for the names in `reset`."""
    ensure(session, caller.project, now)
    row = key_queries.locked_project(session, caller.project)
    assert row is not None
    own = {name: value for name, value in {**row.limits, **changes}.items() if name not in reset}
    Limits.model_validate(own)
    row.limits = own
    audit.record(
        session, caller, "project.set_quota", caller.project, {**changes, **dict.fromkeys(reset, "default")}, now=now
    )
    return row
