"""A learning rule is three pure verbs: observe (on the worker), merge (on the meta-learner), solve (statistics -> P).

Everything that learns a P stands behind `LearningRule`; a new rule is a new entry in `RULES` and touches nothing else.
Merging is exact addition for every rule, so a rule only says what it observes and how it solves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from warpadam.learn import covariance
from warpadam.learn.covariance import Solution
from warpadam.learn.packed import ContributionError, Packed
from warpadam.learn.statistics import Contribution, Statistics
from warpadam.shapes import AxisKeys

if TYPE_CHECKING:
    from torch import Tensor


class Observer(Protocol):
    """Lives on a worker between two contributions."""

    def observe(self, named_gradients: "Iterable[tuple[str, Tensor]]") -> None: ...

    def take(self) -> tuple[dict[str, Packed], int]: ...


class LearningRule(Protocol):
    """How gradients become a P."""

    @property
    def name(self) -> str: ...

    def observe(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> Observer:
        """A new observer for one rank of a job. Needs torch."""
        ...

    def merge(self, statistics: Statistics, contribution: Contribution) -> Statistics:
        """The statistics with this contribution. ContributionError where it belongs to another rule or overlaps."""
        ...

    def solve(self, statistics: Statistics) -> Solution:
        """The P of these statistics: a pure function of them."""
        ...


@dataclass(frozen=True)
class CovarianceRule:
    """P = eigenvectors of the family's mean gradient covariance (`warpadam.learn.covariance`)."""

    n0: int = covariance.N0
    max_share: float = covariance.MAX_SHARE
    name: str = "covariance"

    def observe(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> Observer:
        from warpadam.learn.observe import CovarianceObserver

        return CovarianceObserver(axis_keys, rank=rank, world_size=world_size, every=every)

    def merge(self, statistics: Statistics, contribution: Contribution) -> Statistics:
        return merge_exactly(self.name, statistics, contribution)

    def solve(self, statistics: Statistics) -> Solution:
        return covariance.solve(statistics, n0=self.n0, max_share=self.max_share)


def merge_exactly(rule: str, statistics: Statistics, contribution: Contribution) -> Statistics:
    """`statistics.add`, for contributions of this rule only: the sums of two rules mean different things."""
    if contribution.rule != rule:
        raise ContributionError("wrong_rule", f"a contribution of rule {contribution.rule!r} to statistics of {rule!r}")
    return statistics.add(contribution)


RULES: Mapping[str, LearningRule] = {"covariance": CovarianceRule()}
