"""The hypergradient through K steps of training, by torch.func: for whoever has tasks at hand, outside the service.

With θ_0 … θ_K from K steps of WarpAdam under P (moments included) on K batches, J(P) = L(θ_K) on one more. P moves on
the orthogonal group: P ← cayley(A) P with A skew, and dJ/dA at A = 0 is exact, second derivatives and all. That is
WarpGrad's objective (arXiv 1909.00025) with a trajectory in place of one step; truncated, as K is short against a run.
It needs the loss as a function and K times the memory, so a job of the service cannot contribute it in passing: it is
used by calling `meta_gradient` and `descend` in turn, and `Warp(P)` is what comes out. A short K rewards what helps
soon: see docs/learning.md for what that is worth at tuned learning rates.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from warpadam.shapes import AxisKeys
from warpadam.warp import turn

Batch = TypeVar("Batch")
Parameters = dict[str, Tensor]
Matrices = Mapping[str, Tensor]
"""Axis key -> orthogonal (n, n)."""

TINY = 1e-24
"""Under the root, whose slope at zero has no bound: below the ε of any Adam after the root."""


def meta_gradient(
    loss: Callable[[Parameters, Batch], Tensor],
    parameters: Parameters,
    batches: Sequence[Batch],
    axis_keys: AxisKeys,
    P: Matrices,
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-8,
) -> tuple[dict[str, Tensor], float]:
    """dJ/dA by axis key, skew (n, n), and J: the loss on the last batch after a step on each of the others.

    `loss(parameters, batch)` is a scalar, `torch.func.functional_call` inside. ValueError for fewer than two batches.
    """
    if len(batches) < 2:
        raise ValueError("at least two batches are needed: one to step on, one to judge the step by")

    def after(free: dict[str, Tensor]) -> Tensor:
        turned = {key: _cayley(free[key] - free[key].mT) @ P[key] for key in P}
        theta = _train(loss, parameters, batches[:-1], _rows(axis_keys, turned), lr, betas, eps)
        return loss(theta, batches[-1])

    at = {key: torch.zeros_like(matrix) for key, matrix in P.items()}
    gradients, value = torch.func.grad_and_value(after)(at)
    # A = X - Xᵀ, so dJ/dX is skew already, and twice dJ/dA as a matrix of independent entries.
    return {key: 0.5 * gradient for key, gradient in gradients.items()}, float(value)


def descend(P: Matrices, gradients: Mapping[str, Tensor], angle: float) -> dict[str, Tensor]:
    """P a step downhill: each matrix turned against its gradient by `angle` (Frobenius norm; √2 is one radian)."""
    moved = {}
    for key, matrix in P.items():
        A = gradients[key].double()
        norm = torch.linalg.matrix_norm(A)
        turned = matrix.double() if norm == 0 else _cayley(-angle / norm * A) @ matrix.double()
        left, _, right = torch.linalg.svd(turned)
        moved[key] = (left @ right).to(matrix.dtype)
    return moved


def _train(
    loss: Callable[[Parameters, Batch], Tensor],
    theta: Parameters,
    batches: Sequence[Batch],
    rows: Mapping[str, list[Tensor | None]],
    lr: float,
    betas: tuple[float, float],
    eps: float,
) -> Parameters:
    """Parameters after a step of WarpAdam on each batch, differentiable in P; moments begin at zero."""
    beta1, beta2 = betas
    m = {name: torch.zeros_like(value) for name, value in theta.items()}
    v = dict(m)
    for t, batch in enumerate(batches, 1):
        gradients = torch.func.grad(loss)(theta, batch)
        updated = {}
        for name, gradient in gradients.items():
            row = rows.get(name, [])
            g = turn(gradient, row) if row else gradient
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g.square()
            step = m[name] / (1 - beta1**t) / ((v[name] / (1 - beta2**t) + TINY).sqrt() + eps)
            updated[name] = theta[name] - lr * (turn(step, row, transpose=True) if row else step)
        theta = updated
    return theta


def _rows(axis_keys: AxisKeys, P: Matrices) -> dict[str, list[Tensor | None]]:
    rows = {name: [None if key is None else P.get(key) for key in row] for name, row in axis_keys.items()}
    return {name: row for name, row in rows.items() if any(matrix is not None for matrix in row)}


def _cayley(A: Tensor) -> Tensor:
    identity = torch.eye(len(A), dtype=A.dtype, device=A.device)
    solved: Tensor = torch.linalg.solve(identity - 0.5 * A, identity + 0.5 * A)
    return solved
