"""SELECTs over metric points, thinned by the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from service.db.models import MetricPoint


@dataclass(frozen=True)
class Point:
    """The value of the metric `name` when `step` steps were done."""

    name: str
    step: int
    value: float
    at: datetime


def thinned(session: Session, job_id: str, names: Sequence[str] | None, most: int) -> list[Point]:
    """At most `most` >= 2 points of each name, in order of name and step.

    The n points of a name are laid out in `most` buckets of equal size, the last of which holds the last point alone;
    the first of each bucket is kept, so the first and the last point always are.
    """
    ranked = select(
        MetricPoint,
        func.row_number().over(partition_by=MetricPoint.name, order_by=MetricPoint.step).label("place"),
        func.count().over(partition_by=MetricPoint.name).label("n"),
    ).where(MetricPoint.job_id == job_id)
    if names is not None:
        ranked = ranked.where(MetricPoint.name.in_(names))
    points = ranked.subquery()
    last = func.nullif(points.c.n - 1, 0)
    bucket = (points.c.place - 1) * (most - 1) // last
    before = (points.c.place - 2) * (most - 1) // last
    kept = or_(points.c.n <= most, points.c.place == 1, bucket != before)
    columns = (points.c.name, points.c.step, points.c.value, points.c.at)
    rows = session.execute(select(*columns).where(kept).order_by(points.c.name, points.c.step))
    return [Point(*row) for row in rows]
