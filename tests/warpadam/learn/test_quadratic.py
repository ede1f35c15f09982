"""The point of it all, small: a P learned from other tasks of a family beats tuned Adam on one that it has not seen."""

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.warpadam.matrices import rotation
from warpadam import Warp, WarpAdam
from warpadam.learn import RULES, Contribution, Statistics, check_contribution

STEPS, INPUTS, OUTPUTS = 120, 24, 8
KEY = f"input:{INPUTS}"
AXES = {"w": (None, KEY)}
GRID = list(product([float(lr) for lr in np.geomspace(3e-3, 10.0, 8)], [(0.9, 0.999), (0.9, 0.95)]))

# Every task has the same inputs, of condition 1000 in directions that are no coordinates, and a target of its own.
Q = torch.from_numpy(rotation(INPUTS, 11)).double()
SPREAD = torch.logspace(0, -3, INPUTS, dtype=torch.float64)
H = Q @ torch.diag(SPREAD) @ Q.T
TARGETS = Q @ torch.diag(SPREAD**-0.25) @ Q.T


def target(task: int, outputs: int = OUTPUTS) -> Tensor:
    draw = torch.Generator().manual_seed(task)
    return torch.randn(outputs, INPUTS, generator=draw, dtype=torch.float64) @ TARGETS


def loss(w: Tensor, goal: Tensor) -> Tensor:
    error = w - goal
    return 0.5 * (error @ H * error).sum()


def train(goal: Tensor, lr: float, betas: tuple[float, float], warp: Warp | None) -> tuple[float, list[Tensor]]:
    """The final loss under a cosine schedule, and the gradients on the way."""
    w = torch.zeros_like(goal, requires_grad=True)
    optimizer = WarpAdam([("w", w)], lr=lr, betas=betas, warp=warp, axes=AXES)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    seen: list[Tensor] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss(w, goal).backward()
        assert w.grad is not None
        seen.append(w.grad.clone())
        optimizer.step()
        schedule.step()
    return loss(w, goal).item(), seen


def learned(outputs: int = OUTPUTS, name: str = "covariance") -> Warp:
    """P of six tasks that were trained with plain Adam, through everything that a contribution goes through."""
    rule, statistics = RULES[name], Statistics()
    for task in range(6):
        observer = rule.observe(AXES)
        for gradient in train(target(task, outputs), 0.1, (0.9, 0.999), None)[1]:
            observer.observe([("w", gradient)])
        sums, skipped = observer.take()
        contribution = Contribution(rule.name, f"job_{task}", 1, 0, 0, STEPS, None, sums, skipped)
        check_contribution(contribution, {KEY: INPUTS}, sharing={KEY: 1})
        statistics = rule.merge(statistics, Contribution.decode(contribution.encode()))
    return Warp(rule.solve(statistics).matrices)


@cache
def best(task: int, warp: Warp | None) -> float:
    return min(train(target(task), lr, betas, warp)[0] for lr, betas in GRID)


@pytest.mark.parametrize(
    ("outputs", "rule"),
    [(OUTPUTS, "covariance"), (13, "covariance"), (13, "hypergradient")],
    ids=["same", "learned at another width", "hypergradient"],
)
def test_the_learned_p_beats_tuned_adam_five_times(outputs: int, rule: str) -> None:
    warp = learned(outputs, rule)
    for task in (100, 101):
        adam, ours = best(task, None), best(task, warp)
        assert ours * 5 <= adam, f"task {task}: Adam {adam:.3g}, with P {ours:.3g}"
