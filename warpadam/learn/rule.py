"""A learning rule is three pure verbs: observe (on the worker), merge (on the meta-learner), solve (statistics -> P).

Everything that learns a P stands behind `LearningRule`; a new rule is a new entry in `RULES` and touches nothing else.
Merging is exact addition for every rule, so a rule only says what it observes and how it solves. What P depends on is
in the statistics alone: not in the order in which they came, nor in earlier versions of P.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from warpadam.learn import covariance, hypergradient
from warpadam.learn.covariance import Solution
from warpadam.learn.packed import ContributionError, Packed
from warpadam.learn.statistics import Contribution, Statistics
from warpadam.shapes import AxisKeys

if TYPE_CHECKING:
    from torch import Tensor

Weighting = Literal["uniform", "early", "decayed", "late"]
"""How much each step of a run counts: all alike; the first quarter only; less and less to its end; the last half."""


class Observer(Protocol):
    """Lives on a worker between two contributions."""

    def observe(self, named_gradients: "Iterable[tuple[str, Tensor]]", weight: float = 1.0) -> None:
        """One step's gradients by parameter name, which count with `weight`, 0 to 1."""
        ...

    def take(self) -> tuple[dict[str, Packed], int]: ...


class LearningRule(Protocol):
    """How gradients become a P."""

    @property
    def name(self) -> str: ...

    @property
    def triangles(self) -> int:
        """Packed triangles in a contribution for each axis key: what it costs to send."""
        ...

    def weight(self, progress: float) -> float:
        """How much a step counts that lies this far into its run, from 0 to 1."""
        ...

    def observe(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> Observer:
        """A new observer for one rank of a job. Needs torch."""
        ...

    def merge(self, statistics: Statistics, contribution: Contribution) -> Statistics:
        """The statistics with this contribution. ContributionError where it belongs to another rule or overlaps."""
        ...

    def solve(self, statistics: Statistics) -> Solution:
        """The P of these statistics: a pure function of them."""
        ...

    def verify(self, matrices: Mapping[str, NDArray[np.float32]], statistics: Statistics) -> list[str]:
        """What is wrong with a stored P as the solution of these statistics, on whatever machine it was solved."""
        ...


@dataclass(frozen=True)
class CovarianceRule:
    """P = eigenvectors of the family's mean gradient covariance (`warpadam.learn.covariance`)."""

    n0: int = covariance.N0
    max_share: float = covariance.MAX_SHARE
    weighting: Weighting = "uniform"
    name: str = "covariance"
    triangles: int = 1

    def weight(self, progress: float) -> float:
        return step_weight(self.weighting, progress)

    def observe(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> Observer:
        from warpadam.learn.observe import CovarianceObserver

        return CovarianceObserver(axis_keys, rank=rank, world_size=world_size, every=every)

    def merge(self, statistics: Statistics, contribution: Contribution) -> Statistics:
        return merge_exactly(self.name, statistics, contribution)

    def solve(self, statistics: Statistics) -> Solution:
        return covariance.solve(statistics, n0=self.n0, max_share=self.max_share)

    def verify(self, matrices: Mapping[str, NDArray[np.float32]], statistics: Statistics) -> list[str]:
        return covariance.verify(matrices, statistics, n0=self.n0, max_share=self.max_share)


@dataclass(frozen=True)
class HypergradientRule:
    """P climbs the gain of one step from the covariance's P, or from I (`warpadam.learn.hypergradient`)."""

    objective: hypergradient.Objective = "tuned"
    start: hypergradient.Start = "covariance"
    n0: int = covariance.N0
    max_share: float = covariance.MAX_SHARE
    weighting: Weighting = "uniform"
    name: str = "hypergradient"
    triangles: int = 2

    def weight(self, progress: float) -> float:
        return step_weight(self.weighting, progress)

    def observe(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> Observer:
        from warpadam.learn.observe import PairObserver

        return PairObserver(axis_keys, rank=rank, world_size=world_size, every=every)

    def merge(self, statistics: Statistics, contribution: Contribution) -> Statistics:
        return merge_exactly(self.name, statistics, contribution)

    def solve(self, statistics: Statistics) -> Solution:
        return hypergradient.solve(statistics, self._options())

    def verify(self, matrices: Mapping[str, NDArray[np.float32]], statistics: Statistics) -> list[str]:
        return hypergradient.verify(matrices, statistics, self._options())

    def _options(self) -> hypergradient.Options:
        return hypergradient.Options(self.objective, self.start, self.n0, self.max_share)


def step_weight(weighting: Weighting, progress: float) -> float:
    """The weight of a step that lies this far into its run."""
    match weighting:
        case "uniform":
            return 1.0
        case "early":
            return 1.0 if progress < 0.25 else 0.0
        case "decayed":
            return 1.0 - progress
        case "late":
            return 1.0 if progress >= 0.5 else 0.0


def merge_exactly(rule: str, statistics: Statistics, contribution: Contribution) -> Statistics:
    """`statistics.add`, for contributions of this rule only: the sums of two rules mean different things."""
    if contribution.rule != rule:
        raise ContributionError("wrong_rule", f"a contribution of rule {contribution.rule!r} to statistics of {rule!r}")
    return statistics.add(contribution)


RULES: Mapping[str, LearningRule] = {"covariance": CovarianceRule(), "hypergradient": HypergradientRule()}
