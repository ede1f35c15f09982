"""Metrics: named values at steps. A resumed attempt writes over the steps that it repeats."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from service.db import metric_queries
from service.db.metric_queries import Plain, Point
from service.db.models import MetricPoint
from service.db.upsert import upsert
from service.errors import InvalidRequest

__all__ = ["DEFAULT_POINTS", "MAX_POINTS", "Plain", "Point", "read", "read_plain", "write"]

DEFAULT_POINTS = 1000
MAX_POINTS = 10_000


def write(session: Session, job_id: str, points: Sequence[Point]) -> None:
    """Stores points; the last one with the same name and step wins.

    Values that are not finite are left out: JSON has no word for them, and SQLite would read NaN as NULL.
    """
    rows = {
        (point.name, point.step): {
            "job_id": job_id,
            "name": point.name,
            "step": point.step,
            "value": float(point.value),
            "at": point.at,
        }
        for point in points
        if math.isfinite(point.value)
    }
    upsert(session, MetricPoint, list(rows.values()))


def read(
    session: Session, job_id: str, names: Sequence[str] | None = None, max_points: int = DEFAULT_POINTS
) -> dict[str, list[Point]]:
    """The points of each name, oldest first, at most `max_points` a name (10 000 where it is more).

    Thinning keeps the first and the last point and is even in steps between them. A name that was asked for and has no
    points has an empty list; no names means all there are. InvalidRequest for `max_points` below 2.
    """
    found = read_plain(session, job_id, names, max_points)
    return {name: [_point(each) for each in points] for name, points in found.items()}


def read_plain(
    session: Session, job_id: str, names: Sequence[str] | None = None, max_points: int = DEFAULT_POINTS
) -> dict[str, list[Plain]]:
    """The same as the database has it, for whoever only passes it on."""
    if max_points < 2:
        raise InvalidRequest("max_points must be at least 2: the first and the last point are kept", param="max_points")
    series: dict[str, list[Plain]] = {name: [] for name in names or ()}
    for point in metric_queries.thinned(session, job_id, names or None, min(max_points, MAX_POINTS)):
        series.setdefault(point[0], []).append(point)
    return series


def _point(plain: Plain) -> Point:
    name, step, value, at = plain
    return Point(name, step, value, datetime.fromtimestamp(at / 1000, UTC))
