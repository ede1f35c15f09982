"""How much of the matrix is run: the full one takes hours, the quick one minutes, `decay` studies weight decay at T.

`seeds` is for small data, where five seeds leave every interval wider than what is asked: the full grid and budgets
with 20 paired seeds, tuned with five.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.convergence import grid
from benchmarks.convergence.methods import METHODS


@dataclass(frozen=True)
class Plan:
    """Budgets, seeds and the grid: the same for every method of the plan."""

    name: str
    ratios: Sequence[float]
    anchors: Sequence[float]
    seeds: Sequence[int]
    beta2: Sequence[float]
    warmup: Sequence[float]
    window: int
    growth: int
    methods: Sequence[str]
    weight_decay: Sequence[float] = (0.0,)
    tuning_seeds: int | None = None  # None: the family's own


FULL = Plan(
    "full", grid.RATIOS, grid.ANCHORS, range(5), grid.BETA2, grid.WARMUP, grid.WINDOW, grid.GROWTH, tuple(METHODS)
)
QUICK = Plan(
    "quick",
    ratios=(1, 0.67, 0.5, 0.36, 0.25),
    anchors=(1, 0.36),
    seeds=range(2),
    beta2=(0.95, 0.999),
    warmup=(0.0,),
    window=3,
    growth=1,
    methods=("adamw", "soap-reference", "warp", "warp-data", "rotation"),
    tuning_seeds=1,
)
DECAY = Plan(
    "decay",
    ratios=(1,),
    anchors=(1,),
    seeds=range(5),
    beta2=(0.95,),
    warmup=(0.0,),
    window=3,
    growth=2,
    methods=("adamw", "warp", "soap-reference"),
    weight_decay=(0.0, 0.01, 0.1),
)
SEEDS = replace(FULL, name="seeds", seeds=range(20), tuning_seeds=5)
PLANS = {plan.name: plan for plan in (FULL, QUICK, DECAY, SEEDS)}
