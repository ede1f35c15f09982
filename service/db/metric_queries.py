"""SELECTs over metric points, thinned by the database.

What is read grows with what is shown, not with how many points there are: each step here is a seek in the table's key
(job, name, step).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    CTE,
    BigInteger,
    Select,
    Text,
    bindparam,
    case,
    column,
    func,
    literal,
    select,
    type_coerce,
    values,
)
from sqlalchemy.orm import Session

from service.db.models import MetricPoint as Stored

Plain = tuple[str, int, float, int]
"""A point as the database has it: name, step, value, and its time in milliseconds since 1970."""


@dataclass(frozen=True)
class Point:
    """The value of the metric `name` when `step` steps were done."""

    name: str
    step: int
    value: float
    at: datetime


_TABLE = Stored.__table__.columns
_JOB, _MOST = bindparam("job", type_=Text), bindparam("most", type_=BigInteger)


def thinned(session: Session, job_id: str, names: Sequence[str] | None, most: int) -> Sequence[Plain]:
    """At most `most` >= 2 points of each name, in order of name and step; by one statement.

    The steps of a name with more are laid out in `most` intervals of equal length, the last of which holds the last
    step alone; the first point of each interval is kept, so the first and the last point always are.
    """
    statement = _OF_ALL if names is None else _kept(_given(names))
    return session.execute(statement, {"job": job_id, "most": most}).all()


def _all_names() -> CTE:
    """Names that the job has points of, by a seek for each; the last is NULL."""
    walk = select(func.min(_TABLE["name"]).label("name")).where(_TABLE["job_id"] == _JOB).cte("names", recursive=True)
    following = select(func.min(_TABLE["name"])).where(_TABLE["job_id"] == _JOB, _TABLE["name"] > walk.c.name)
    return walk.union_all(select(following.scalar_subquery()).where(walk.c.name.is_not(None)))


def _given(names: Sequence[str]) -> CTE:
    return values(column("name", Text), name="given").data([(name,) for name in sorted(set(names))]).cte("names")


def _kept(names: CTE) -> Select[str, int, float, int]:
    """The points that are kept of each of these names."""
    table, step = _TABLE, _TABLE["step"]
    mine = (table["job_id"] == _JOB, table["name"] == names.c.name)
    # A seek each: SQLite would read all steps for the first and the last in one.
    first, last = (select(each(step)).where(*mine).scalar_subquery() for each in (func.min, func.max))
    beyond = select(step).where(*mine).order_by(step).offset(_MOST).limit(1).scalar_subquery()
    ends = select(names.c.name, first.label("first"), last.label("last"), beyond.is_not(None).label("are_more")).cte(
        "ends"
    )
    begun = select(ends.c.name, ends.c.first.label("step"), ends.c.first, ends.c.last, ends.c.are_more)
    walk = begun.where(ends.c.first.is_not(None)).cte("kept", recursive=True)
    # The interval after the one that a kept step lies in, and the smallest step that lies there.
    span, parts = walk.c.last - walk.c.first, _MOST - 1
    interval = (walk.c.step - walk.c.first) * parts // span + 1
    begin = walk.c.first + (interval * span + _MOST - 2) // parts
    wanted = case((walk.c.are_more, begin), else_=walk.c.step + literal(1))
    following = select(func.min(step)).where(table["job_id"] == _JOB, table["name"] == walk.c.name, step >= wanted)
    walk = walk.union_all(
        select(walk.c.name, following.scalar_subquery(), walk.c.first, walk.c.last, walk.c.are_more).where(
            walk.c.step < walk.c.last
        )
    )
    found = (table["name"], step, table["value"], type_coerce(table["at"], BigInteger).label("at"))
    is_kept = (table["job_id"] == _JOB) & (table["name"] == walk.c.name) & (step == walk.c.step)
    return select(*found).join(walk, is_kept).order_by(table["name"], step)


# Made once, because making a statement costs more than running it.
_OF_ALL = _kept(_all_names())
