"""What the update is: AdamW without a P, the slow reference with one, and its null controls."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.warpadam.matrices import gradients, identity, positive_diagonal, rotation, signed_permutation
from warpadam import Warp, WarpAdam, reference

OPTIONS: dict[str, Any] = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8}
AXES: dict[tuple[int, ...], tuple[str | None, ...]] = {
    (5,): ("a:5",),
    (4, 5): ("b:4", "a:5"),
    (7, 5): (None, "a:5"),
    (4, 3, 5): ("b:4", None, "a:5"),
    (4, 3, 3, 3): ("b:4", "c:3", "d:9"),
    (5, 3, 2, 2): ("a:5", "c:3", "e:2", "e:2"),
}
SIZES = {"a:5": 5, "b:4": 4, "c:3": 3, "d:9": 9, "e:2": 2}
Make = Callable[[int, int], np.ndarray]


def warp_of(make: Make) -> Warp:
    return Warp({key: make(size, seed) for seed, (key, size) in enumerate(SIZES.items())})


def run(optimizer: torch.optim.Optimizer, param: Tensor, sequence: Sequence[Tensor]) -> Tensor:
    """The parameter after these gradients, each with a pull towards zero so that later steps depend on earlier ones."""
    for gradient in sequence:
        param.grad = (gradient + 0.3 * param).detach()
        optimizer.step()
    return param.detach()


def adamw(shape: tuple[int, ...], sequence: Sequence[Tensor], dtype: torch.dtype, **options: float) -> Tensor:
    param = torch.ones(shape, dtype=dtype, requires_grad=True)
    return run(torch.optim.AdamW([param], foreach=False, **{**OPTIONS, **options}), param, sequence)


def warped(
    shape: tuple[int, ...], sequence: Sequence[Tensor], dtype: torch.dtype, warp: Warp | None, **options: float
) -> Tensor:
    param = torch.ones(shape, dtype=dtype, requires_grad=True)
    axes = {"w": AXES[shape]}
    return run(WarpAdam([("w", param)], warp=warp, axes=axes, **{**OPTIONS, **options}), param, sequence)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("project_back", [True, False])
@pytest.mark.parametrize("warp", [None, warp_of(identity)], ids=["none", "identity"])
@pytest.mark.parametrize("shape", AXES, ids=str)
def test_without_p_and_with_p_the_identity_it_is_adamw_bit_for_bit(
    shape: tuple[int, ...], warp: Warp | None, project_back: bool, weight_decay: float
) -> None:
    sequence = gradients(shape, 100)
    expected = adamw(shape, sequence, torch.float32, weight_decay=weight_decay)
    got = warped(shape, sequence, torch.float32, warp, weight_decay=weight_decay, project_back=project_back)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("size", [64, 257])
def test_bit_for_bit_at_sizes_where_products_are_blocked(size: int) -> None:
    sequence = gradients((33, size), 20)
    results = []
    for warp in (None, Warp({f"a:{size}": identity(size)})):
        param = torch.ones(33, size, requires_grad=True)
        axes = {"w": (None, f"a:{size}")}
        results.append(run(WarpAdam([("w", param)], warp=warp, axes=axes, **OPTIONS), param, sequence))
    param = torch.ones(33, size, requires_grad=True)
    expected = run(torch.optim.AdamW([param], foreach=False, weight_decay=0.0, **OPTIONS), param, sequence)
    assert all(torch.equal(result, expected) for result in results)


def test_with_a_schedule_and_many_parameters_it_is_adamw_bit_for_bit() -> None:
    def train(make: Callable[[torch.nn.Module], torch.optim.Optimizer]) -> list[Tensor]:
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(16, 3)
        )
        optimizer = make(model)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
        for _ in range(60):
            optimizer.zero_grad()
            model(torch.randn(8, 2, 4, 4)).square().sum().backward()
            optimizer.step()
            schedule.step()
        return [parameter.detach() for parameter in model.parameters()]

    ours = train(lambda model: WarpAdam(model, lr=1e-2, weight_decay=0.1))
    theirs = train(lambda model: torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1, foreach=False))
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("make", [rotation, positive_diagonal], ids=["orthogonal", "scaled"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("project_back", [True, False])
@pytest.mark.parametrize("shape", AXES, ids=str)
def test_fast_is_the_reference_over_100_random_steps(
    shape: tuple[int, ...], project_back: bool, nesterov: bool, make: Make
) -> None:
    warp, keys, sequence = warp_of(make), AXES[shape], gradients(shape, 100, dtype=torch.float64)
    sizes = [SIZES.get(key or "", size) for key, size in zip(keys, shape, strict=False)]
    P = reference.dense([(size, warp.matrices.get(key or "")) for size, key in zip(sizes, keys, strict=True)])
    theta = torch.ones(shape, dtype=torch.float64)
    moments = reference.Moments.zeros(theta)
    rule: dict[str, Any] = {"weight_decay": 0.1, "project_back": project_back, "nesterov": nesterov}
    for gradient in sequence:
        theta = reference.step(theta, gradient + 0.3 * theta, moments, P, **OPTIONS, **rule)
    assert torch.allclose(warped(shape, sequence, torch.float64, warp, **rule), theta, rtol=1e-9, atol=1e-9)
    single = warped(shape, [g.float() for g in sequence], torch.float32, warp, **rule)
    assert torch.allclose(single.double(), theta, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", AXES, ids=str)
def test_a_signed_permutation_does_nothing_when_steps_are_taken_back(shape: tuple[int, ...]) -> None:
    sequence = gradients(shape, 100)
    expected = adamw(shape, sequence, torch.float32, weight_decay=0.1)
    assert torch.equal(warped(shape, sequence, torch.float32, warp_of(signed_permutation), weight_decay=0.1), expected)


@pytest.mark.parametrize("shape", AXES, ids=str)
def test_a_positive_diagonal_does_nothing_in_the_papers_rule_up_to_eps(shape: tuple[int, ...]) -> None:
    sequence = gradients(shape, 100, dtype=torch.float64)
    options = {"weight_decay": 0.1, "eps": 1e-14}
    expected = adamw(shape, sequence, torch.float64, **options)
    warp = warp_of(positive_diagonal)
    paper = warped(shape, sequence, torch.float64, warp, project_back=False, **options)
    assert torch.allclose(paper, expected, rtol=1e-9, atol=1e-9)
    assert not torch.allclose(warped(shape, sequence, torch.float64, warp, **options), expected, rtol=1e-3)


def test_neither_rule_is_blind_to_a_rotation() -> None:
    sequence = gradients((4, 5), 20)
    expected = adamw((4, 5), sequence, torch.float32, weight_decay=0.0)
    for project_back in (True, False):
        got = warped((4, 5), sequence, torch.float32, warp_of(rotation), project_back=project_back)
        assert not torch.allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", AXES, ids=str)
def test_p_orthogonal_is_adamw_on_the_rotated_problem(shape: tuple[int, ...], weight_decay: float) -> None:
    warp, keys, sequence = warp_of(rotation), AXES[shape], gradients(shape, 100, dtype=torch.float64)
    turned = warp.apply(torch.ones(shape, dtype=torch.float64), keys).requires_grad_()
    rotated = torch.optim.AdamW([turned], foreach=False, weight_decay=weight_decay, **OPTIONS)
    expected = run(rotated, turned, [warp.apply(gradient, keys) for gradient in sequence])
    got = warped(shape, sequence, torch.float64, warp, weight_decay=weight_decay)
    assert torch.allclose(warp.apply(got, keys), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", AXES, ids=str)
def test_nesterov_under_the_identity_is_nesterov_without_p_bit_for_bit(shape: tuple[int, ...]) -> None:
    sequence = gradients(shape, 50)
    plain, warped_by_identity = (
        warped(shape, sequence, torch.float32, warp, nesterov=True, weight_decay=0.1)
        for warp in (None, warp_of(identity))
    )
    assert torch.equal(plain, warped_by_identity)


def test_nesterovs_very_first_step_is_longer_than_adams() -> None:
    """By hand: m = (1-β1) g, so m̂ = (β1 (1-β1) / (1-β1²) + 1) g, and √v̂ = |g|."""
    param = torch.zeros(3, requires_grad=True)
    optimizer = WarpAdam([param], lr=0.1, betas=(0.9, 0.99), eps=0.0, nesterov=True)
    run(optimizer, param, [torch.tensor([2.0, -3.0, 0.5])])
    assert torch.allclose(param, -0.1 * (1 + 0.9 / 1.9) * torch.tensor([1.0, -1.0, 1.0]))


def test_the_step_of_the_very_first_gradient_is_lr_along_each_row_of_p() -> None:
    """By hand: after one step m̂/√v̂ is the sign of P g, so θ moves by lr · Pᵀ sign(P g)."""
    P = torch.from_numpy(rotation(5))
    param, gradient = torch.zeros(5, requires_grad=True), torch.randn(5)
    run(WarpAdam([("w", param)], lr=0.1, eps=0.0, warp=Warp({"a:5": P}), axes={"w": ("a:5",)}), param, [gradient])
    assert torch.allclose(param, -0.1 * P.T @ torch.sign(P @ gradient), atol=1e-6)
