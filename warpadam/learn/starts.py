"""A family's start: its weights, moved by what contributors learned (Reptile, arXiv 1803.02999). numpy, no torch.

    next = base + step · Σ_j w_j s_j (final_j - began_j) / Σ_j w_j

`began_j` is the start that contributor j trained from, `final_j` the weights that it ended with. Contributors of one
round that all began from `base`, with step 1, give the plain average of their final weights.
w_j = min(steps_j, n0) with no contributor above its share, as for P; s_j <= 1 shortens a move that is longer than
`MAX_STRETCH` times the contributors' median. Sums are float64 in the order given: equal input, equal bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from warpadam.learn.covariance import MAX_SHARE, N0, capped_weights

Weights = Mapping[str, NDArray[np.generic]]
"""Tensor name -> array: a model's state."""

RULE = "reptile"
MAX_STRETCH = 2.0
ENOUGH_FOR_A_MEDIAN = 3


class StartError(ValueError):
    """Weights that cannot move a start. `code`: `shape`, `not_finite`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Move:
    """One contributor's weights at both ends, and what it counts for (`shares`)."""

    weight: float
    scale: float
    began: Weights
    final: Weights


def distance(began: Weights, final: Weights) -> float:
    """‖final - began‖ over all tensors of real numbers. StartError unless `final` fits `began` and is finite."""
    for name in sorted(began.keys() ^ final.keys()):
        raise StartError("shape", f"tensor {name} is {'missing' if name in began else 'unknown'}")
    total = 0.0
    for name in sorted(began):
        if began[name].shape != final[name].shape:
            raise StartError("shape", f"{name} has shape {final[name].shape}, the start {began[name].shape}")
        if _is_real(began[name]):
            total += float(np.square(_wide(final[name]) - _wide(began[name])).sum())
    if not np.isfinite(total):
        raise StartError("not_finite", "the weights hold a value that is not finite")
    return float(np.sqrt(total))


def shares(
    steps: Sequence[int], norms: Sequence[float], *, n0: int = N0, max_share: float = MAX_SHARE
) -> list[tuple[float, float]]:
    """(weight, scale) of each contributor, from its number of steps and the length of its move."""
    weights = capped_weights([min(count, n0) for count in steps], max_share)
    limit = MAX_STRETCH * median(norms) if len(norms) >= ENOUGH_FOR_A_MEDIAN else float("inf")
    return [(weight, 1.0 if norm <= limit else limit / norm) for weight, norm in zip(weights, norms, strict=True)]


def grow(base: Weights, moves: Iterable[Move], step: float) -> dict[str, NDArray[np.generic]]:
    """The next start, tensor by tensor in the base's types.

    What is not a real number (counters of normalisation layers) is taken from the contributor with the largest weight;
    a running variance never falls below zero.
    """
    sums = {name: np.zeros(array.shape) for name, array in base.items() if _is_real(array)}
    total, heaviest = 0.0, 0.0
    counters: dict[str, NDArray[np.generic]] = {}
    for move in moves:
        total += move.weight
        for name in sums:
            sums[name] += move.weight * move.scale * (_wide(move.final[name]) - _wide(move.began[name]))
        if move.weight > heaviest:
            heaviest = move.weight
            counters = {name: array for name, array in move.final.items() if name not in sums}
    if total == 0.0:
        return dict(base)
    grown: dict[str, NDArray[np.generic]] = {**base, **counters}
    for name, array in sums.items():
        moved = _wide(base[name]) + (step / total) * array
        if name.endswith("running_var"):
            moved = np.maximum(moved, 0.0)
        grown[name] = moved.astype(base[name].dtype)
    return grown


def _is_real(array: NDArray[np.generic]) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating))


def _wide(array: NDArray[np.generic]) -> NDArray[np.float64]:
    return array.astype(np.float64)
