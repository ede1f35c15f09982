"""Covariance: P is the eigenbasis of the family's mean gradient covariance, largest direction first. numpy, no torch.

Per key, C = Σ_jobs w(n_j) · C_j / n_j with w(n) = min(n, n0), in sorted order of the jobs, and no job above
`max_share` of the weight once more than 1 / max_share jobs contribute to that key.

Equal statistics give equal bytes on one machine with one set of libraries: float64, one thread, signs fixed, and a
canonical basis wherever the eigenvectors are not determined (nearly equal eigenvalues, directions without evidence).
Elsewhere eigensolvers differ in their last bits: there the stored file is the truth, and `verify` checks it.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from warpadam.learn.packed import is_next, unpack
from warpadam.learn.statistics import Statistics

N0 = 300
MAX_SHARE = 0.25
CLUSTER_GAP = 1e-3
NO_EVIDENCE = 1e-9
DIAGONAL_WITHIN = 1e-5

Matrix64 = NDArray[np.float64]


@dataclass(frozen=True)
class Solution:
    """A P by key: matrices (float32), eigenvalues (float64, largest first); and the record under which it is exact."""

    matrices: dict[str, NDArray[np.float32]]
    eigenvalues: dict[str, Matrix64]
    solved_with: dict[str, str]


def solve(
    statistics: Statistics,
    *,
    n0: int = N0,
    max_share: float = MAX_SHARE,
    prior: Mapping[str, Matrix64] | None = None,
    prior_steps: float = 0.0,
) -> Solution:
    """P of these statistics. Without any evidence for a key its matrix is the identity.

    `prior`: key -> a matrix of trace 1 that counts like so many steps of one job (`own_data.moments`). Off by default:
    it helps little, and only while few jobs have contributed (docs/learning.md).
    """
    matrices: dict[str, NDArray[np.float32]] = {}
    eigenvalues: dict[str, Matrix64] = {}
    with threadpool_limits(limits=1):
        for key, covariance in covariances(statistics, n0=n0, max_share=max_share).items():
            if prior is not None and key in prior:
                covariance = covariance + prior_steps * prior[key]  # noqa: PLW2901
            matrices[key], eigenvalues[key] = eigenbasis(covariance)
        solved_with = record("numpy.linalg.eigh float64")
    return Solution(matrices, eigenvalues, solved_with)


def basis(covariance: Matrix64) -> tuple[NDArray[np.float32], Matrix64]:
    """The P of one covariance (n, n) and its eigenvalues, as in `solve`: for a basis from other data than gradients."""
    with threadpool_limits(limits=1):
        return eigenbasis(covariance)


def verify(
    matrices: Mapping[str, NDArray[np.float32]],
    statistics: Statistics,
    *,
    n0: int = N0,
    max_share: float = MAX_SHARE,
) -> list[str]:
    """What is wrong with a stored P as the solution of these statistics, one line each; empty when it is one.

    P C Pᵀ must be diagonal up to 1e-5 ‖C‖, largest first. Within a cluster of nearly equal eigenvalues every basis is
    as good, so there only the cluster's sum is compared.
    """
    expected = covariances(statistics, n0=n0, max_share=max_share)
    wrong = [
        f"{key}: {'missing' if key in expected else 'unknown'}" for key in sorted(expected.keys() ^ matrices.keys())
    ]
    for key in sorted(expected.keys() & matrices.keys()):
        if len(matrices[key]) != len(expected[key]):
            wrong.append(f"{key}: size {len(matrices[key])} instead of {len(expected[key])}")
        else:
            error = _distance(matrices[key].astype(np.float64), expected[key])
            if error > DIAGONAL_WITHIN:
                wrong.append(f"{key}: ‖P C Pᵀ − diag‖ is {error:.3g} ‖C‖, more than {DIAGONAL_WITHIN:g}")
    return wrong


def covariances(statistics: Statistics, *, n0: int = N0, max_share: float = MAX_SHARE) -> dict[str, Matrix64]:
    """The family's C by key, float64."""
    return {
        key: matrix
        for key, matrix in means(statistics, n0=n0, max_share=max_share).items()
        if not is_next(key)  # what another rule sees beside it
    }


def means(statistics: Statistics, *, n0: int = N0, max_share: float = MAX_SHARE) -> dict[str, Matrix64]:
    """The weighted mean over the jobs of every sum, by its name, float64."""
    found: dict[str, Matrix64] = {}
    for key in sorted({key for job in statistics.jobs.values() for key in job.sums}):
        jobs = [job for _, job in sorted(statistics.jobs.items()) if key in job.sums]
        weights = capped_weights([min(job.steps, n0) for job in jobs], max_share)
        parts = [weight / job.steps * unpack(job.sums[key]) for job, weight in zip(jobs, weights, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        found[key] = total
    return found


def capped_weights(weights: Sequence[int], max_share: float) -> list[float]:
    """The weights, each lowered to the largest cap c with c <= max_share · (sum of what remains).

    No more than 1 / max_share of them: nothing can be capped, and they stay as they are.
    """
    if len(weights) * max_share <= 1:
        return [float(weight) for weight in weights]
    rest = sum(weights)
    for capped, heaviest in enumerate(sorted(weights, reverse=True)):
        cap = max_share * rest / (1 - capped * max_share)
        if heaviest <= cap:
            return [min(float(weight), cap) for weight in weights]
        rest -= heaviest
    raise AssertionError("unreachable: the lightest weight is never above the cap")


def eigenbasis(covariance: Matrix64) -> tuple[NDArray[np.float32], Matrix64]:
    """Eigenvectors as rows, canonical where not determined, and eigenvalues, largest first and none below 0."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    for first, last in clusters(values):
        if last - first > 1:
            vectors[:, first:last] = _canonical(vectors[:, first:last])
    return np.ascontiguousarray((vectors * signs(vectors)).T.astype(np.float32)), values


def clusters(values: Matrix64, gap: float = CLUSTER_GAP) -> list[tuple[int, int]]:
    """Half-open ranges of eigenvalues (largest first) that no basis tells apart.

    Neighbours closer than `gap` of the larger value are together; so are all below 1e-9 of the trace.
    """
    floor = NO_EVIDENCE * values.sum()
    starts = [0]
    for index in range(1, len(values)):
        above, below = values[index - 1], values[index]
        no_evidence = above <= floor and below <= floor
        if not no_evidence and (above - below >= gap * above or below <= floor):
            starts.append(index)
    return list(zip(starts, [*starts[1:], len(values)], strict=True))


def _canonical(span: Matrix64) -> Matrix64:
    """The basis (n, k) of the columns' span made from unit vectors: each time the one that is most inside what is left.

    Ties within rounding go to the lowest index, so that the choice does not depend on the eigensolver's last bits.
    """
    size, count = span.shape
    left = span.copy()
    basis = np.empty((size, count))
    for index in range(count):
        inside = np.square(left).sum(axis=1)
        pivot = int(np.argmax(inside >= inside.max() * (1 - 1e-6)))
        direction = left @ left[pivot]
        direction -= basis[:, :index] @ (basis[:, :index].T @ direction)
        direction /= np.linalg.norm(direction)
        basis[:, index] = direction
        left -= np.outer(direction, direction @ left)
    return basis


def signs(vectors: Matrix64) -> Matrix64:
    """+1 or -1 per column, such that its largest entry becomes positive; the first one among equals within rounding."""
    size = np.abs(vectors)
    rows = np.argmax(size >= size.max(axis=0) * (1 - 1e-6), axis=0)
    return np.where(vectors[rows, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def _distance(P: Matrix64, C: Matrix64) -> float:
    """‖P C Pᵀ − diag‖ / ‖C‖, with the blocks of clusters counted as diagonal and compared by their sums."""
    norm = float(np.linalg.norm(C))
    turned = P @ C @ P.T
    values = np.maximum(np.linalg.eigvalsh(C)[::-1], 0.0)
    error = 0.0
    for first, last in clusters(values, gap=2 * CLUSTER_GAP):
        error = max(error, abs(float(np.trace(turned[first:last, first:last]) - values[first:last].sum())))
        turned[first:last, first:last] = 0.0
    error = max(error, float(np.linalg.norm(turned)), norm * float(np.abs(P @ P.T - np.eye(len(P))).max()))
    return error / norm if norm > 0 else error


def record(solver: str) -> dict[str, str]:
    """What P's bytes depend on beside the statistics: the solver, its libraries, this machine."""
    libraries = [info for info in threadpool_info() if info["user_api"] == "blas"]
    names = sorted(
        {f"{info['internal_api']} {info['version']} {info.get('architecture', '')}".strip() for info in libraries}
    )
    return {
        "solver": solver,
        "numpy": np.__version__,
        "blas": ", ".join(names) or "unknown",
        "threads": "1",
        "processor": platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.machine()}",
    }
