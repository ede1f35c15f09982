"""Matrices to compare P with, on exactly P's axes; and inputs whitened once in the data."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.convergence.learning import Warps
from benchmarks.convergence.tasks import Examples, Part, RowsPart, Task
from warpadam.learn import own_data
from warpadam.shapes import AxisKeys, sizes_by_key

Matrix = NDArray[np.float32]


def identity(warps: Warps) -> dict[str, Matrix]:
    return {key: np.eye(len(P), dtype=np.float32) for key, P in warps.items()}


def signed_permutation(warps: Warps, seed: int = 1) -> dict[str, Matrix]:
    """Adam's steps are the same under it: what differs is rounding."""
    rng = np.random.default_rng(seed)
    return {key: _signed_permutation(len(P), rng) for key, P in sorted(warps.items())}


def rotation(warps: Warps, seed: int = 2) -> dict[str, Matrix]:
    """Drawn evenly from all orthogonal matrices."""
    rng = np.random.default_rng(seed)
    return {key: _rotation(len(P), rng) for key, P in sorted(warps.items())}


def other_columns(warps: Warps, seed: int = 3) -> dict[str, Matrix]:
    """This P, of a family with the same sizes whose columns are in another order: right numbers, wrong family."""
    rng = np.random.default_rng(seed)
    return {key: np.ascontiguousarray(P[:, rng.permutation(len(P))]) for key, P in sorted(warps.items())}


def diagonal(warps: Warps, seed: int = 4) -> dict[str, Matrix]:
    """Positive and not constant: nothing to the paper's rule, up to ε."""
    rng = np.random.default_rng(seed)
    return {key: np.diag(np.exp(rng.uniform(-1, 1, len(P)))).astype(np.float32) for key, P in sorted(warps.items())}


def own_basis(task: Task, keys: AxisKeys) -> dict[str, Matrix]:
    """`warp: data`: the basis that the job's own training part gives, without any other job."""
    part = task.parts["train"]
    if not isinstance(part, RowsPart):
        return {}
    return own_data.matrices(part.x.numpy(), part.y.numpy(), task.kind, sizes_by_key(keys))


def whitened(task: Task) -> Task:
    """The task with inputs whitened by its own training part: what can be had by preparing the data."""
    train = task.parts["train"]
    if not isinstance(train, RowsPart):
        raise ValueError(f"{task.name}: text cannot be whitened")
    x = train.x.flatten(1).double()
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    scale = vectors / (values + 1e-3 * values.mean()).sqrt()

    def moved(part: Examples) -> Examples:
        assert isinstance(part, RowsPart)
        return RowsPart(((part.x.flatten(1).double() - mean) @ scale).float(), part.y)

    parts: Mapping[Part, Examples] = {name: moved(part) for name, part in task.parts.items()}
    return replace(task, name=f"{task.name}, whitened", parts=parts)


def _signed_permutation(size: int, rng: np.random.Generator) -> Matrix:
    P = np.zeros((size, size), dtype=np.float32)
    P[np.arange(size), rng.permutation(size)] = rng.choice([-1.0, 1.0], size)
    return P


def _rotation(size: int, rng: np.random.Generator) -> Matrix:
    Q, R = np.linalg.qr(rng.standard_normal((size, size)))
    return np.ascontiguousarray((Q * np.sign(np.diag(R))).astype(np.float32))
