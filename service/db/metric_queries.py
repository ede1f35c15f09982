"""SELECTs over metric points, thinned by the database.

What is read grows with what is shown, not with how many points there are: each step here is a seek in the table's key
(job, name, step).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Row, func, select, type_coerce
from sqlalchemy.orm import Session

from service.db.models import MetricPoint as Stored

Conditions = tuple[ColumnElement[bool], ...]


@dataclass(frozen=True)
class Point:
    """The value of the metric `name` when `step` steps were done."""

    name: str
    step: int
    value: float
    at: datetime


class Plain(NamedTuple):
    """The same as the database has it: `at` in milliseconds since 1970."""

    name: str
    step: int
    value: float
    at: int


_TABLE = Stored.__table__.columns
_COLUMNS = (_TABLE["name"], _TABLE["step"], _TABLE["value"], type_coerce(_TABLE["at"], BigInteger).label("at"))


def thinned(session: Session, job_id: str, names: Sequence[str] | None, most: int) -> list[Plain]:
    """At most `most` >= 2 points of each name, in order of name and step.

    The steps of a name with more are laid out in `most` intervals of equal length, the last of which holds the last
    step alone; the first point of each interval is kept, so the first and the last point always are.
    """
    known = _names(session, job_id) if names is None else sorted(set(names))
    rows: list[Row[Any]] = []
    for name in known:
        mine = (_TABLE["job_id"] == job_id, _TABLE["name"] == name)
        are_more = session.scalar(select(_TABLE["step"]).where(*mine).order_by(_TABLE["step"]).offset(most).limit(1))
        rows += _all(session, mine) if are_more is None else _some(session, mine, most)
    return [Plain(row.name, row.step, row.value, row.at) for row in rows]


def _names(session: Session, job_id: str) -> list[str]:
    """Names that the job has points of, by a seek for each."""
    first = select(func.min(Stored.name).label("name")).where(Stored.job_id == job_id)
    walk = first.cte("names", recursive=True)
    following = select(func.min(Stored.name)).where(Stored.job_id == job_id, Stored.name > walk.c.name)
    walk = walk.union_all(select(following.scalar_subquery()).where(walk.c.name.is_not(None)))
    return list(session.scalars(select(walk.c.name).where(walk.c.name.is_not(None)).order_by(walk.c.name)))


def _all(session: Session, mine: Conditions) -> Sequence[Row[Any]]:
    return session.execute(select(*_COLUMNS).where(*mine).order_by(_TABLE["step"])).all()


def _some(session: Session, mine: Conditions, most: int) -> Sequence[Row[Any]]:
    """The first point of each interval of steps."""
    step = _TABLE["step"]
    # Two seeks: SQLite would read all steps for both of them in one.
    ends = (select(each(step)).where(*mine).scalar_subquery() for each in (func.min, func.max))
    first, last = session.execute(select(*ends)).one()
    walk = select(func.min(step).label("step")).where(*mine).cte("kept", recursive=True)
    # The interval after the one that a kept step lies in, and the smallest step that lies there.
    interval = (walk.c.step - first) * (most - 1) // (last - first) + 1
    begin = first + (interval * (last - first) + most - 2) // (most - 1)
    following = select(func.min(step)).where(*mine, step >= begin).scalar_subquery()
    walk = walk.union_all(select(following).where(walk.c.step < last))
    kept = select(walk.c.step).subquery()
    return session.execute(select(*_COLUMNS).join(kept, kept.c.step == step).where(*mine).order_by(step)).all()
