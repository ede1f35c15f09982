"""A sketch Y = C Ω of the covariance of an axis that is too long for C itself; merged exactly like C. numpy, no torch.

Ω is n × k of independent signs, fixed by the axis key alone, so that sketches of any two jobs of a family add up. To
observe costs 4 k operations for each entry of a gradient (Y ← Y + U (Uᵀ Ω), U the unfolded unit gradient) and no n × n
matrix is ever made; to send costs n k numbers. From Y follow the r strongest directions of C by Nyström's formula,
C ≈ Y (Ωᵀ Y)⁺ Yᵀ, which for a positive C has the spectral error of its best rank-r approximation up to a factor that
k > r keeps small (Tropp, Yurtsever, Udell, Cevher, "Fixed-rank approximation of a positive-semidefinite matrix from
streaming data", NeurIPS 2017, arXiv 1706.05736: the shift, the Cholesky factor, the SVD). k = 2r + 8 by default.

What is learned is V (n, r) with orthonormal columns. It is completed to a rotation by r Householder reflections in
compact WY form (Schreiber and Van Loan, 1989), P = I - W T Wᵀ with P V = ± [I; 0]: the learned directions become the
first r coordinates, and P costs 4 n r operations for each column where a dense one costs 2 n².
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from warpadam.learn.covariance import signs
from warpadam.learn.packed import SCALE, ContributionError, Packed

Matrix64 = NDArray[np.float64]
OVERSAMPLING = 8


@dataclass(frozen=True)
class Directions:
    """V (n, r), float64, orthonormal columns, strongest first, and their eigenvalues (r,)."""

    V: Matrix64
    eigenvalues: Matrix64


def width(rank: int) -> int:
    """k, the columns of a sketch from which `rank` directions are to be solved."""
    return 2 * rank + OVERSAMPLING


def omega(key: str, size: int, columns: int) -> NDArray[np.float32]:
    """Ω (n, k) of ±1: from SHAKE-256 of the axis key, row by row; the same for ever, on any machine."""
    if columns > size:
        raise ValueError(f"{key}: {columns} columns are no fewer than the axis has entries: observe C itself")
    count = size * columns
    stream = hashlib.shake_256(f"warpadam.sketch/1 {key} {columns}".encode()).digest(-(-count // 8))
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), count=count).reshape(size, columns)
    return 1.0 - 2.0 * bits.astype(np.float32)


def pack(Y: Matrix64) -> Packed:
    """(n, k) int64 at SCALE, rounded once. ContributionError as for a packed triangle."""
    if Y.ndim != 2 or not np.isfinite(Y).all():
        raise ContributionError("not_finite", "the sketch is no matrix, or holds values that are not finite")
    scaled = np.rint(Y * SCALE)
    if (np.abs(scaled) >= 2.0**62).any():
        raise ContributionError("overflow", f"the sketch holds values above {2**62 // SCALE}; contribute more often")
    return scaled.astype(np.int64)


def solve(key: str, packed: Packed, rank: int) -> Directions:
    """The `rank` strongest directions of the C that this sketch (n, k) is of; fewer where it has fewer.

    A pure function of its arguments on one machine: float64, one thread, signs fixed. ValueError where k < rank.
    """
    size, columns = packed.shape
    if not 1 <= rank <= columns:
        raise ValueError(f"{key}: from a sketch of {columns} columns come 1 to {columns} directions, not {rank}")
    with threadpool_limits(limits=1):
        return _nystrom(packed / SCALE, omega(key, size, columns).astype(np.float64), rank)


def _nystrom(Y: Matrix64, Omega: Matrix64, rank: int) -> Directions:
    shift = np.sqrt(len(Y)) * np.finfo(np.float64).eps * np.linalg.norm(Y) + len(Y) / SCALE
    Y = Y + shift * Omega  # the sketch of C + shift I: rounding cannot make it indefinite any more
    inner = Omega.T @ Y
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
    kept = values > values[-1] * 1e-12
    B = Y @ (vectors[:, kept] / np.sqrt(values[kept]))
    left, singular, _ = np.linalg.svd(B, full_matrices=False)
    found = np.maximum(singular**2 - shift, 0.0)[:rank]
    strong = found > max(found[0] * 1e-9, shift)
    V = left[:, :rank][:, strong]
    return Directions(V * signs(V), found[strong])
