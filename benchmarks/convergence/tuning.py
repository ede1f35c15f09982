"""Which setting a method is judged at: a pure function of tuning losses, so that no test loss can have a say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from benchmarks.convergence.grid import Setting

Scores = Mapping[Setting, Sequence[float]]
"""Setting -> its losses on the tuning part, over tuning tasks and seeds."""


@dataclass(frozen=True)
class Choice:
    """`at_edge`: the best learning rate is the smallest or largest that was tried."""

    setting: Setting
    score: float
    at_edge: bool = False


def geometric_mean(losses: Sequence[float]) -> float:
    return exp(sum(log(max(loss, 1e-30)) for loss in losses) / len(losses))


def choose(scores: Scores) -> Choice:
    """The setting with the least geometric mean; among equals the smallest."""
    ranked = sorted((geometric_mean(losses), setting) for setting, losses in scores.items())
    score, setting = ranked[0]
    return Choice(setting, score)


def multiplier(scores: Mapping[float, Sequence[float]]) -> float:
    """Of factors on AdamW's learning rate, the one with the least geometric mean over tasks, seeds and budgets."""
    return min(scores, key=lambda factor: (geometric_mean(scores[factor]), factor))
