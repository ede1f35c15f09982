"""SELECTs over metric points, thinned by the database.

What is read grows with what is shown, not with how many points there are: each step here is a seek in the table's key
(job, name, step).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

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
    true,
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
    kept, of_all = (_sought, _ALL_SOUGHT) if session.get_bind().dialect.name == "postgresql" else (_walked, _ALL_WALKED)
    statement = of_all if names is None else kept(_given(names))
    return session.execute(statement, {"job": job_id, "most": most}).all()


def _all_names() -> CTE:
    """Names that the job has points of, by a seek for each; the last is NULL."""
    walk = select(func.min(_TABLE["name"]).label("name")).where(_TABLE["job_id"] == _JOB).cte("names", recursive=True)
    following = select(func.min(_TABLE["name"])).where(_TABLE["job_id"] == _JOB, _TABLE["name"] > walk.c.name)
    return walk.union_all(select(following.scalar_subquery()).where(walk.c.name.is_not(None)))


def _given(names: Sequence[str]) -> CTE:
    return values(column("name", Text), name="given").data([(name,) for name in sorted(set(names))]).cte("names")


def _ends(names: CTE) -> CTE:
    """The first and the last step of each of these names, NULL where it has no points; and whether it has too many."""
    step = _TABLE["step"]
    mine = (_TABLE["job_id"] == _JOB, _TABLE["name"] == names.c.name)
    # A seek each: SQLite would read all steps for the first and the last in one.
    first, last = (select(each(step)).where(*mine).scalar_subquery() for each in (func.min, func.max))
    beyond = select(step).where(*mine).order_by(step).offset(_MOST).limit(1).scalar_subquery()
    found = select(names.c.name, first.label("first"), last.label("last"), beyond.is_not(None).label("are_more"))
    return found.cte("ends")


def _begin(ends: Any, interval: Any) -> Any:
    """The smallest step that the interval may have; the first one is number 0."""
    return ends.first + (interval * (ends.last - ends.first) + _MOST - 2) // (_MOST - 1)


def _walked(names: CTE) -> Select[str, int, float, int]:
    """The points that are kept of each of these names: from one to the next, and then each by its key."""
    table, step = _TABLE, _TABLE["step"]
    ends = _ends(names)
    begun = select(ends.c.name, ends.c.first.label("step"), ends.c.first, ends.c.last, ends.c.are_more)
    walk = begun.where(ends.c.first.is_not(None)).cte("kept", recursive=True)
    # The interval after the one that a kept step lies in, and the smallest step that lies there.
    following = (walk.c.step - walk.c.first) * (_MOST - 1) // (walk.c.last - walk.c.first) + 1
    wanted = case((walk.c.are_more, _begin(walk.c, following)), else_=walk.c.step + literal(1))
    next_ = select(func.min(step)).where(table["job_id"] == _JOB, table["name"] == walk.c.name, step >= wanted)
    walk = walk.union_all(
        select(walk.c.name, next_.scalar_subquery(), walk.c.first, walk.c.last, walk.c.are_more).where(
            walk.c.step < walk.c.last
        )
    )
    is_kept = (table["job_id"] == _JOB) & (table["name"] == walk.c.name) & (step == walk.c.step)
    return select(*_found()).join(walk, is_kept).order_by(table["name"], step)


def _sought(names: CTE) -> Select[str, int, float, int]:
    """The same by a seek for each interval, which brings the whole point: half the work, where LATERAL is known."""
    table, step = _TABLE, _TABLE["step"]
    ends = _ends(names).prefix_with("MATERIALIZED")  # else it would be found anew for each interval
    # A name without too many points is one interval, which is read to its end.
    intervals = case((ends.c.are_more, _MOST), else_=1)
    each = func.generate_series(0, intervals - 1).table_valued(column("number", BigInteger))
    each = each.render_derived(name="part")
    end = case((ends.c.are_more, _begin(ends.c, each.c.number + 1)), else_=ends.c.last + 1)
    here = (table["job_id"] == _JOB, table["name"] == ends.c.name, step >= _begin(ends.c, each.c.number), step < end)
    point = select(*_found()).where(*here).order_by(step).limit(_MOST // intervals).lateral("point")
    kept = select(point.c.name, point.c.step, point.c.value, point.c.at)
    return kept.select_from(ends.join(each, true()).join(point, true())).order_by(point.c.name, point.c.step)


def _found() -> tuple[Any, ...]:
    return _TABLE["name"], _TABLE["step"], _TABLE["value"], type_coerce(_TABLE["at"], BigInteger).label("at")


# Made once, because making a statement costs more than running it.
_ALL_WALKED, _ALL_SOUGHT = _walked(_all_names()), _sought(_all_names())
