"""What is made of single measurements: percentiles, medians, ratios. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["Measured", "at_least", "at_most", "median", "percentile"]


@dataclass(frozen=True)
class Measured:
    """One line of the report; `goal` None: nothing was promised."""

    what: str
    value: float
    unit: str
    goal: str | None = None
    reached: bool | None = None
    note: str = ""


def percentile(values: Sequence[float], q: float) -> float:
    """The smallest value that at least `q` percent of all do not exceed. ValueError for none."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * q / 100) - 1)]


def at_least(what: str, value: float, unit: str, goal: float, note: str = "") -> Measured:
    return Measured(what, value, unit, f"≥ {goal:g}", value >= goal, note)


def at_most(what: str, value: float, unit: str, goal: float, note: str = "") -> Measured:
    return Measured(what, value, unit, f"≤ {goal:g}", value <= goal, note)
