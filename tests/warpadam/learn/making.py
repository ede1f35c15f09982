"""Contributions and statistics that the tests of the learning rules share."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from warpadam.learn.statistics import Contribution, pack


def covariance(size: int, seed: int = 0, steps: int = 10) -> NDArray[np.float64]:
    """The sum of `steps` outer products of unit vectors: a trace of `steps`, as observed from one axis."""
    G = np.random.default_rng(seed).standard_normal((steps, size)) * np.geomspace(1, 0.05, size)
    G /= np.linalg.norm(G, axis=1, keepdims=True)
    return np.asarray(G.T @ G, dtype=np.float64)


def contribution(
    job: str = "job_a",
    start: int = 0,
    end: int = 10,
    matrices: Mapping[str, NDArray[np.float64]] | None = None,
    *,
    seed: int = 0,
    attempt: int = 1,
    sequence: int = 0,
    base_version: int | None = 3,
    skipped: int = 0,
) -> Contribution:
    steps = end - start
    matrices = matrices if matrices is not None else {f"input:{n}": covariance(n, seed + n, steps) for n in (3, 6)}
    sums = {key: pack(matrix) for key, matrix in matrices.items()}
    return Contribution("covariance", job, attempt, sequence, start, end, base_version, sums, skipped)
