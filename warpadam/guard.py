"""The guard: whether a candidate P may take the champion's place, by a test that may be looked at after every version.

A comparison of two methods on one held-out task is the difference of their log losses there (positive: the first is
better), averaged over its seeds and cut to [-1, 1] · `cap`: d in [-1, 1] after the division. Tasks are the draws, so a
task counts once, however many seeds it has.

Under the null, "the first is not better": E[d | what was seen before] <= 0. For any bet λ in [0, 1) the wealth
Π (1 + λ dₜ) is then a non-negative supermartingale that starts at 1, and so is the mean over several λ. By Ville's
inequality it ever reaches 1/α with probability α at most, whoever looks when: an e-process (Waudby-Smith and Ramdas,
"Estimating means of bounded random variables by betting", JRSS B 2024, arXiv 2010.09686; Howard et al., "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Ann. Stat. 2021). The mean over a fixed grid of λ needs no tuning,
does not depend on the order of the tasks, and loses at most log(size of the grid) to the best λ of it.

A candidate is promoted where it is better than the champion and better than AdamW, each at its α: what is refuted is
that one of the two does not hold, so no correction for two tests is needed. It is kept out for good ("keep") where as
strong a test says that it is not better than the champion by `least`, or worse than AdamW. Otherwise "undecided", which
keeps the champion too and can change as tasks arrive. The k-th candidate of a family is tested at α/(k(k+1)), which
sums to α: over the whole life of a family a P that is no better is promoted with probability α at most.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.05
CAP = 0.1
"""Differences of log losses are cut here: no task counts for more than a tenth, so that a few dozen are enough."""
LEAST = 0.005
"""A gain in log loss that is worth a new champion; one that is surely smaller ends a candidate."""
BETS: NDArray[np.float64] = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])

Verdict = Literal["promote", "keep", "undecided"]


@dataclass(frozen=True)
class Paired:
    """One method against another over tasks. `evidence`, `against`: e-values, of "better", and of "not by `least`"."""

    tasks: int
    mean: float
    """Mean difference of log losses, uncut: 0.1 is a loss lower by about a tenth."""
    wins: int
    evidence: float
    against: float


@dataclass(frozen=True)
class Comparison:
    """A verdict and what it rests on. `alpha`: what this candidate may spend. None: nothing to compare with."""

    verdict: Verdict
    alpha: float
    number: int
    champion: Paired | None
    adamw: Paired | None

    @property
    def won(self) -> bool:
        return self.verdict == "promote"

    def to_json(self) -> dict[str, object]:
        """As `warp_versions.comparison` holds it; e-values above 1e300 as that."""
        return {**asdict(self), "won": self.won}


def compare(
    against_champion: Mapping[str, Sequence[float]] | None,
    against_adamw: Mapping[str, Sequence[float]],
    *,
    number: int,
    alpha: float = ALPHA,
    cap: float = CAP,
    least: float = LEAST,
) -> Comparison:
    """The verdict on a family's `number`-th candidate, from 1.

    Each mapping is held-out task -> differences log(loss of the other) - log(loss of the candidate), one per seed; None
    where the family has no champion yet: then AdamW is what has to be beaten. ValueError for a difference that is NaN.
    """
    if number < 1:
        raise ValueError(f"candidates are numbered from 1, not {number}")
    spent = spend(alpha, number)
    champion = None if against_champion is None else paired(against_champion, cap=cap, least=least)
    adamw = paired(against_adamw, cap=cap, least=0.0)
    needed = [adamw] if champion is None else [champion, adamw]
    verdict: Verdict = "undecided"
    if all(one.evidence >= 1 / spent for one in needed):
        verdict = "promote"
    elif any(one.against >= 1 / spent for one in needed):
        verdict = "keep"
    return Comparison(verdict, spent, number, champion, adamw)


def spend(alpha: float, number: int) -> float:
    """α of the k-th candidate: α/(k(k+1)), whose sum over all k is α."""
    return alpha / (number * (number + 1))


def paired(differences: Mapping[str, Sequence[float]], *, cap: float = CAP, least: float = 0.0) -> Paired:
    """The two tests over these tasks; a task without a difference is left out."""
    means = np.array([_mean(task, values) for task, values in sorted(differences.items()) if len(values)])
    return Paired(
        tasks=len(means),
        mean=float(means.mean()) if len(means) else 0.0,
        wins=int((means > 0).sum()),
        evidence=e_value(means / cap),
        against=e_value((least - means) / (cap + least)),
    )


def e_value(differences: NDArray[np.float64]) -> float:
    """The wealth, from 1, of betting that these are above 0 on average; cut to [-1, 1]. At most 1e300."""
    cut = np.clip(differences, -1.0, 1.0)
    logs = np.log1p(BETS[:, None] * cut[None, :]).sum(axis=1)
    most = float(logs.max())
    return math.exp(min(most + math.log(float(np.exp(logs - most).mean())), 300 * math.log(10)))


def _mean(task: str, values: Sequence[float]) -> float:
    """Infinite losses are as bad as the cap."""
    if any(math.isnan(value) for value in values):
        raise ValueError(f"task {task}: a difference of losses is not a number")
    return float(np.mean(np.clip(values, -1e3, 1e3)))
