"""Matrices that the tests of this package share."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def rotation(size: int, seed: int = 0) -> NDArray[np.float32]:
    """A random orthogonal matrix."""
    Q, R = np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))
    return np.asarray(Q * np.sign(np.diag(R)), dtype=np.float32)


def signed_permutation(size: int, seed: int = 0) -> NDArray[np.float32]:
    draw = np.random.default_rng(seed)
    return np.asarray(np.eye(size)[draw.permutation(size)] * draw.choice([-1, 1], (size, 1)), dtype=np.float32)


def positive_diagonal(size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.diag(np.random.default_rng(seed).uniform(0.5, 2.0, size)).astype(np.float32)


def identity(size: int, seed: int = 0) -> NDArray[np.float32]:
    return np.eye(size, dtype=np.float32)


def gradients(shape: tuple[int, ...], steps: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw, dtype=dtype) for _ in range(steps)]
