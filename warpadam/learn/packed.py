"""Symmetric matrices as packed integers: rounded once, then added exactly, every addition checked. No torch."""

from collections.abc import Mapping
from math import isqrt

import numpy as np
from numpy.typing import NDArray

SCALE = 2**30

Packed = NDArray[np.int64]
Sums = Mapping[str, Packed]

_NEXT = "next "
"""No axis key holds a space."""


class ContributionError(ValueError):
    """A contribution that is refused. `code` is for programs, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[type["ContributionError"], tuple[str, str]]:
        return type(self), (self.code, str(self))


def next_name(key: str) -> str:
    """The name, among a contribution's sums, of an axis's products of each gradient with the next (`hypergradient`)."""
    return _NEXT + key


def is_next(name: str) -> bool:
    return name.startswith(_NEXT)


def axis_of(name: str) -> str:
    """The axis key of a sum's name."""
    return name.removeprefix(_NEXT)


def pack(matrix: NDArray[np.float64]) -> Packed:
    """The upper triangle of a symmetric (n, n) matrix, row by row: n(n+1)/2 int64 at SCALE, rounded once."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ContributionError("bad_shape", f"statistics are square matrices, not of shape {matrix.shape}")
    triangle = matrix[np.triu_indices(len(matrix))].astype(np.float64)
    if not np.isfinite(triangle).all():
        raise ContributionError("not_finite", "the statistics hold values that are not finite")
    scaled = np.rint(triangle * SCALE)
    if (np.abs(scaled) >= 2.0**62).any():
        raise ContributionError("overflow", f"the statistics hold values above {2**62 // SCALE}; contribute more often")
    return scaled.astype(np.int64)


def unpack(packed: Packed) -> NDArray[np.float64]:
    """The symmetric (n, n) float64 matrix of a packed triangle."""
    size = packed_size(packed)
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = packed / SCALE
    return matrix + np.triu(matrix, 1).T


def packed_diagonal(packed: Packed) -> NDArray[np.float64]:
    """The diagonal, (n,) float64, of a packed triangle."""
    size = packed_size(packed)
    rows = np.arange(size)
    diagonal: NDArray[np.float64] = packed[rows * size - rows * (rows - 1) // 2] / SCALE
    return diagonal


def packed_size(packed: Packed) -> int:
    """n of a packed triangle of n(n+1)/2 numbers."""
    size = (isqrt(8 * packed.size + 1) - 1) // 2
    if packed.ndim != 1 or size < 1 or size * (size + 1) // 2 != packed.size:
        raise ContributionError("bad_shape", f"an array of shape {packed.shape} is no packed triangle")
    return size


def add(left: Packed, right: Packed) -> Packed:
    """left + right, exactly. ContributionError where a sum leaves int64."""
    if left.shape != right.shape:
        raise ContributionError("bad_shape", f"triangles of {left.size} and {right.size} numbers cannot be added")
    total = left + right
    if (((left ^ total) & (right ^ total)) < 0).any():
        raise ContributionError("overflow", "the sum of the statistics leaves 64-bit integers")
    return total


def add_sums(left: Sums, right: Sums) -> dict[str, Packed]:
    """The exact sum, key by key; a key that only one side has is kept as it is."""
    return {
        key: add(left[key], right[key]) if key in left and key in right else (left if key in left else right)[key]
        for key in sorted({*left, *right})
    }
