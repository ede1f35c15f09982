"""The K-step hypergradient: its inner steps are WarpAdam's, its gradient is exact, and going down it helps."""

import pytest
import torch
from torch import Tensor

from tests.warpadam.matrices import rotation
from warpadam import Warp, WarpAdam
from warpadam.learn.unrolled import _train, descend, meta_gradient

KEYS = {"w": ("output:3", "input:6"), "b": (None,)}
SIZES = {"output:3": 3, "input:6": 6}
SCALE = torch.diag(torch.logspace(0, -1.5, 6, dtype=torch.float64))
INPUTS = torch.from_numpy(rotation(6, 1)).double() @ SCALE


def loss(theta: dict[str, Tensor], batch: Tensor) -> Tensor:
    """Rows of the batch are inputs, and a linear map of them the targets."""
    targets = batch @ torch.linalg.pinv(INPUTS).mT[:, :3]
    return (batch @ theta["w"].mT + theta["b"] - targets).square().mean()


def batches(count: int, seed: int = 0) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(32, 6, generator=draw, dtype=torch.float64) @ INPUTS.mT for _ in range(count)]


def start() -> dict[str, Tensor]:
    return {"w": torch.zeros(3, 6, dtype=torch.float64), "b": torch.zeros(3, dtype=torch.float64)}


def identity() -> dict[str, Tensor]:
    return {key: torch.eye(size, dtype=torch.float64) for key, size in SIZES.items()}


def test_its_steps_are_those_of_warp_adam() -> None:
    P = {key: torch.from_numpy(rotation(size, 2)).double() for key, size in SIZES.items()}
    rows = {"w": [P["output:3"], P["input:6"]]}
    found = _train(loss, start(), batches(5), rows, 0.05, (0.9, 0.95), 1e-8)
    theta = {name: value.requires_grad_() for name, value in start().items()}
    optimizer = WarpAdam(list(theta.items()), lr=0.05, betas=(0.9, 0.95), warp=Warp(P), axes=KEYS)
    for batch in batches(5):
        optimizer.zero_grad()
        loss(theta, batch).backward()
        optimizer.step()
    for name, value in theta.items():
        assert torch.allclose(found[name], value, atol=1e-6)


def test_the_gradient_is_the_slope_along_the_group() -> None:
    data, P = batches(6), identity()
    gradients, value = meta_gradient(loss, start(), data, KEYS, P, lr=0.05)
    for key, gradient in gradients.items():
        assert torch.allclose(gradient, -gradient.mT)
        moved = {**P, key: descend(P, gradients, 1e-4)[key]}
        after = meta_gradient(loss, start(), data, KEYS, moved, lr=0.05)[1]
        assert (after - value) / 1e-4 == pytest.approx(-gradient.norm().item(), rel=2e-2)


def test_going_down_it_helps_on_batches_that_it_has_not_seen_and_keeps_a_rotation() -> None:
    P, unseen = identity(), batches(9, seed=99)
    before = meta_gradient(loss, start(), unseen, KEYS, P, lr=0.05)[1]
    for step in range(12):
        P = descend(P, meta_gradient(loss, start(), batches(9, seed=step), KEYS, P, lr=0.05)[0], 0.2)
    assert meta_gradient(loss, start(), unseen, KEYS, P, lr=0.05)[1] < 0.9 * before
    assert Warp(P).is_orthogonal


def test_one_batch_is_too_few() -> None:
    with pytest.raises(ValueError, match="at least two batches"):
        meta_gradient(loss, start(), batches(1), KEYS, identity(), lr=0.05)
