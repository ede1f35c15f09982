"""What every method is tuned over: learning rate × β2 × warm-up, and its authors' defaults.

Learning rates are 1e-3 · 2^k. A method begins with a window of them; where the best one lies at an edge the window
grows to that side, the same way for every method, and an optimum that is still at the edge is said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from math import log2

BETA2 = (0.95, 0.99, 0.999)
WARMUP = (0.0, 0.05)
WINDOW = 5
GROWTH = 4
"""How many times a window may grow."""

RATIOS = (2, 1.5, 1.25, 1.1, 1, 0.9, 0.8, 0.75, 0.67, 0.6, 0.5, 0.44, 0.4, 0.36, 0.33, 0.29, 0.25)
"""Budgets as shares of T, largest first."""
ANCHORS = (1, 0.5, 0.25)
"""The budgets that are tuned; the others take the setting of the nearest one (by ratio), for every method alike."""


@dataclass(frozen=True, order=True)
class Setting:
    """What is tuned. `warmup` is a share of the steps; `beta1` is a method's own where it is not 0.9."""

    lr: float
    beta2: float = 0.999
    warmup: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def rate(k: int) -> float:
    return float(f"{1e-3 * 2.0**k:.6g}")


def window(centre: int) -> range:
    return range(centre - WINDOW // 2, centre + WINDOW // 2 + 1)


def settings(
    exponents: Iterable[int],
    beta1: float = 0.9,
    *,
    beta2: Sequence[float] = BETA2,
    warmup: Sequence[float] = WARMUP,
    weight_decay: Sequence[float] = (0.0,),
) -> list[Setting]:
    """The grid over these learning rates."""
    points = product(exponents, beta2, warmup, weight_decay)
    return [Setting(rate(k), b2, share, decay, beta1) for k, b2, share, decay in points]


def grown(exponents: range, best: Setting) -> range:
    """The window two steps wider on the side where the best learning rate is at its edge; the same one where not."""
    if best.lr <= rate(exponents.start):
        return range(exponents.start - 2, exponents.stop)
    if best.lr >= rate(exponents.stop - 1):
        return range(exponents.start, exponents.stop + 2)
    return exponents


def at_edge(exponents: range, best: Setting) -> bool:
    return grown(exponents, best) != exponents


def budget(T: int, ratio: float) -> int:
    return max(1, round(T * ratio))


def nearest_anchor(ratio: float, anchors: Sequence[float] = ANCHORS) -> float:
    """The tuned budget nearest to this one on a log scale; the larger of two as near."""
    return max(anchors, key=lambda anchor: (-abs(_log2(anchor) - _log2(ratio)), anchor))


def _log2(x: float) -> float:
    return round(log2(x), 9)
