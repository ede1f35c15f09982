"""From final losses to steps ratios, with their uncertainty.

A method's score at a budget is, per paired seed, the geometric mean of its test losses over the held-out tasks. The
target is the median over seeds of AdamW's at T. A budget counts only if the method's median reaches the target there
and at every larger one; the steps ratio is T divided by the smallest that counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Losses = Mapping[float, Floats]
"""ratio (budget / T) -> (tasks, seeds)."""
BOOTSTRAPS = 2000


@dataclass(frozen=True)
class Ratio:
    """`steps`: T / smallest budget that counts, 0 where none does. `headline`: that by AdamW's own, with its 95 %
    interval over resampled tasks and paired seeds."""

    steps: float
    own: float
    headline: float
    low: float
    high: float


def smallest_budget(scores: Mapping[float, float], target: float) -> float | None:
    """The smallest budget such that it and every larger one reach the target; None where the largest does not."""
    found = None
    for ratio in sorted(scores, reverse=True):
        if not scores[ratio] <= target:
            break
        found = ratio
    return found


def logs(losses: Losses) -> tuple[list[float], Floats]:
    """The ratios, largest first, and the log losses (ratios, tasks, seeds)."""
    ratios = sorted(losses, reverse=True)
    return ratios, np.log(np.maximum(np.stack([losses[ratio] for ratio in ratios]), 1e-30))


def scores(table: Floats, tasks: Places, seeds: Places) -> Floats:
    """Log losses (ratios, tasks, seeds) and draws (draws, places) -> (draws, ratios): medians over seeds."""
    over_tasks = table[:, tasks].mean(2)  # (ratios, draws, seeds)
    drawn = np.take_along_axis(over_tasks, seeds[None], axis=2)
    found: Floats = np.median(drawn, axis=2).T
    return found


def reciprocals(ratios: Sequence[float], found: Floats, targets: Floats) -> Floats:
    """(draws,): T / smallest budget that counts in each draw, 0 where none does."""
    return np.array(
        [
            1 / (smallest_budget(dict(zip(ratios, row, strict=True)), target) or np.inf)
            for row, target in zip(found, targets, strict=True)
        ]
    )


def steps_ratio(method: Losses, adamw: Losses, reference: float = 1) -> Ratio:
    """The method's steps ratio against AdamW after `reference` · T steps, and AdamW's own on the same budgets."""
    tasks, seeds = draws(*adamw[1].shape)
    steps, own = _both(method, adamw, tasks, seeds, reference)
    headlines = steps / own
    low, high = np.quantile(headlines[1:], [0.025, 0.975])
    return Ratio(float(steps[0]), float(own[0]), float(headlines[0]), float(low), float(high))


def draws(tasks: int, seeds: int) -> tuple[Places, Places]:
    """What is resampled: first everything once, then BOOTSTRAPS draws of tasks and of seeds."""
    rng = np.random.default_rng(0)
    return (
        np.vstack([np.arange(tasks)[None], rng.integers(tasks, size=(BOOTSTRAPS, tasks))]),
        np.vstack([np.arange(seeds)[None], rng.integers(seeds, size=(BOOTSTRAPS, seeds))]),
    )


def _both(method: Losses, adamw: Losses, tasks: Places, seeds: Places, reference: float) -> tuple[Floats, Floats]:
    ratios, table = logs(adamw)
    found = scores(table, tasks, seeds)
    targets = found[:, ratios.index(reference)]
    # AdamW reaches its own target at T by definition; whether it does at larger budgets is another matter.
    upto = [place for place, ratio in enumerate(ratios) if ratio <= reference]
    own = reference * reciprocals([ratios[place] for place in upto], found[:, upto], targets)
    ratios, table = logs(method)
    return reference * reciprocals(ratios, scores(table, tasks, seeds), targets), own


def log_gain(method: Losses, adamw: Losses, ratio: float = 1) -> tuple[float, float, float]:
    """log(AdamW's loss) - log(the method's) at one budget: the mean over tasks and paired seeds, and its 95 %
    interval over resampled tasks and seeds."""
    gains = np.log(np.maximum(adamw[ratio], 1e-30)) - np.log(np.maximum(method[ratio], 1e-30))
    tasks, seeds = draws(*gains.shape)
    means = gains[tasks[:, :, None], seeds[:, None, :]].mean((1, 2))
    low, high = np.quantile(means[1:], [0.025, 0.975])
    return float(means[0]), float(low), float(high)
