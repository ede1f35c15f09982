"""A family's start: its weights, moved by what contributors learned (Reptile, arXiv 1803.02999). numpy, no torch.

    next = base + step · Σ_j w_j s_j p_j (final_j - began_j) / Σ_j w_j p_j          coordinate by coordinate

`began_j` is the start that contributor j trained from, `final_j` the weights that it ended with.
w_j = min(steps_j, n0) with no contributor above its share, as for P; s_j <= 1 shortens a move that is longer than
`MAX_STRETCH` times the contributors' median. p_j is how surely contributor j knows a coordinate (`precision`): a unit
that its data never woke, a token that its text never held should not be held against those who learned it. With p = 1
(`RULE_PLAIN`), step 1 and one round this is the plain average. Sums are float64 in the order given: equal input,
equal bytes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

from warpadam.learn.covariance import MAX_SHARE, N0, capped_weights
from warpadam.learn.packed import Sums, packed_diagonal
from warpadam.shapes import AxisKeys, merged_shape

Weights = Mapping[str, NDArray[np.generic]]
"""Tensor name -> array: a model's state."""
Precision = Mapping[str, NDArray[np.float64]]
"""Tensor name -> what each of its coordinates counts for; a tensor without an entry counts 1 everywhere."""

RULE_PLAIN, RULE = "reptile", "reptile-precise"
"""Without precisions, as starts were made at first; and with them."""
LEAST, MOST = 0.01, 100.0
"""Bounds of a precision, whose mean over a tensor is about 1: who counts for more at some coordinates counts for less
at the others, and nobody is without a say anywhere."""
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
    precision: Precision = field(default_factory=dict)


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


def precision(sums: Sums, keys: AxisKeys, began: Weights) -> dict[str, NDArray[np.float64]]:
    """How surely a contributor knows each coordinate, from the sums that it contributed to P.

    The diagonal of an axis's C is which share of its squared gradients fell on each of its places. For a tensor, the
    product over its axes estimates each coordinate's mean squared gradient, the diagonal of Fisher's matrix (as in
    Fisher-weighted averaging, arXiv 2111.09832, there with gradients of their own); over its mean, and cut to
    [`LEAST`, `MOST`], it is the precision. A bias goes with its weight's output axis; tied weights, arrays of one
    memory, have the precision of the first of their names, so that they stay one.
    """
    found: dict[str, NDArray[np.float64]] = {}
    first: dict[tuple[int, tuple[int, ...]], str] = {}
    for name, array in began.items():
        owner = first.setdefault((array.__array_interface__["data"][0], array.shape), name)
        row = _row(owner, array.ndim, keys)
        if any(key in sums for key in row):
            found[name] = _precision(sums, row, array.shape)
    return found


def _row(name: str, axes: int, keys: AxisKeys) -> Sequence[str | None]:
    if axes == 1 and name.endswith(".bias"):
        return keys.get(name.removesuffix("bias") + "weight", ())[:1]
    return keys.get(name, ())


def _precision(sums: Sums, row: Sequence[str | None], shape: tuple[int, ...]) -> NDArray[np.float64]:
    squares = np.ones(merged_shape(shape, len(row)))
    for axis, key in enumerate(row):
        if key is not None and key in sums:
            diagonal = np.maximum(packed_diagonal(sums[key]), 0.0)
            squares *= diagonal.reshape([-1 if axis == place else 1 for place in range(squares.ndim)])
    mean = float(squares.mean())
    if mean == 0.0:
        return np.ones(shape)
    return np.clip(squares / mean, LEAST, MOST).reshape(shape)


def grow(base: Weights, moves: Iterable[Move], step: float) -> dict[str, NDArray[np.generic]]:
    """The next start, tensor by tensor in the base's types.

    What is not a real number (counters of normalisation layers) is taken from the contributor with the largest weight;
    a running variance never falls below zero.
    """
    sums = {name: np.zeros(array.shape) for name, array in base.items() if _is_real(array)}
    totals = {name: np.zeros(array.shape) for name, array in sums.items()}
    heaviest = 0.0
    counters: dict[str, NDArray[np.generic]] = {}
    for move in moves:
        for name in sums:
            counts = move.weight * move.precision.get(name, np.float64(1.0))
            sums[name] += counts * move.scale * (_wide(move.final[name]) - _wide(move.began[name]))
            totals[name] += counts
        if move.weight > heaviest:
            heaviest = move.weight
            counters = {name: array for name, array in move.final.items() if name not in sums}
    if heaviest == 0.0:
        return dict(base)
    grown: dict[str, NDArray[np.generic]] = {**base, **counters}
    for name, array in sums.items():
        moved = _wide(base[name]) + (step / totals[name]) * array
        if name.endswith("running_var"):
            moved = np.maximum(moved, 0.0)
        grown[name] = moved.astype(base[name].dtype)
    return grown


def _is_real(array: NDArray[np.generic]) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating))


def _wide(array: NDArray[np.generic]) -> NDArray[np.float64]:
    return array.astype(np.float64)
