"""The equations of WarpAdam, slow and readable: the oracle of the tests.

P is the literal one: a dense n × n matrix per parameter of n numbers, the Kronecker product of its axes' matrices,
applied to the parameter as one long vector. Any floating-point type.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """m and v of one parameter as vectors of n numbers, and the number of steps so far."""

    m: Tensor
    v: Tensor
    t: int = 0

    @classmethod
    def zeros(cls, theta: Tensor) -> "Moments":
        return cls(torch.zeros(theta.numel(), dtype=theta.dtype), torch.zeros(theta.numel(), dtype=theta.dtype))


def dense(axes: Sequence[tuple[int, Tensor | None]], dtype: torch.dtype = torch.float64) -> Tensor:
    """P of a whole parameter: (size, matrix or None for the identity) per axis -> L ⊗ R ⊗ …, for row-major vectors."""
    P = torch.ones(1, 1, dtype=dtype)
    for size, matrix in axes:
        P = torch.kron(P, torch.eye(size, dtype=dtype) if matrix is None else matrix.to(dtype))
    return P


def step(
    theta: Tensor,
    gradient: Tensor,
    moments: Moments,
    P: Tensor,
    *,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    project_back: bool = True,
    nesterov: bool = False,
) -> Tensor:
    """The parameter after one step; `moments` move on in place."""
    beta1, beta2 = betas
    g_hat = P @ gradient.reshape(-1)
    moments.t += 1
    moments.m = beta1 * moments.m + (1 - beta1) * g_hat
    moments.v = beta2 * moments.v + (1 - beta2) * g_hat**2
    m_hat = moments.m / (1 - beta1**moments.t)
    if nesterov:
        m_hat = beta1 * moments.m / (1 - beta1 ** (moments.t + 1)) + (1 - beta1) * g_hat / (1 - beta1**moments.t)
    v_hat = moments.v / (1 - beta2**moments.t)
    update = m_hat / (v_hat.sqrt() + eps)
    if project_back:
        update = P.T @ update
    decayed = theta - lr * weight_decay * theta
    return decayed - lr * update.reshape(theta.shape)
