"""P changes while a run goes on: the moments are carried over, and nothing that need not change does."""

import pytest
import torch
from torch import Tensor

from tests.warpadam.matrices import gradients, rotation, signed_permutation
from warpadam import Warp, WarpAdam

AXES = {"w": ("b:4", "a:5")}


def warp(seed: int) -> Warp:
    return Warp({"b:4": rotation(4, seed), "a:5": rotation(5, seed + 1)})


def permuted(old: Warp, seed: int = 3) -> Warp:
    """P′ = S P with S a signed permutation."""
    return Warp({key: torch.from_numpy(signed_permutation(len(P), seed)) @ P for key, P in old.matrices.items()})


def start(first: Warp | None, dtype: torch.dtype = torch.float64) -> tuple[Tensor, WarpAdam]:
    param = torch.zeros(4, 5, dtype=dtype, requires_grad=True)
    return param, WarpAdam([("w", param)], lr=0.01, warp=first, axes=AXES)


def run(param: Tensor, optimizer: WarpAdam, seed: int) -> None:
    for gradient in gradients((4, 5), 10, seed, param.dtype):
        param.grad = gradient
        optimizer.step()


def test_m_and_v_move_as_the_design_says() -> None:
    old, new = warp(0), warp(7)
    param, optimizer = start(old)
    run(param, optimizer, 1)
    m, v = (optimizer.state[param][name].clone() for name in ("exp_avg", "exp_avg_sq"))
    optimizer.change_warp(new)
    L, R = (new.matrices[key].double() @ old.matrices[key].double().T for key in ("b:4", "a:5"))
    assert torch.allclose(optimizer.state[param]["exp_avg"], L @ m @ R.T)
    assert torch.allclose(optimizer.state[param]["exp_avg_sq"], L**2 @ v @ (R**2).T)
    assert torch.allclose(optimizer.state[param]["exp_avg_sq"].sum(), v.sum(), rtol=1e-5)


def test_m_is_what_it_would_have_been_under_the_new_p_from_the_start() -> None:
    results = []
    for first in (warp(0), None, warp(7)):
        param, optimizer = start(first)
        run(param, optimizer, 1)
        optimizer.change_warp(warp(7))
        results.append(optimizer.state[param]["exp_avg"])
    assert torch.allclose(results[0], results[2], atol=1e-6)
    assert torch.allclose(results[1], results[2], atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_from_none_to_a_signed_permutation_and_back_changes_no_bit(dtype: torch.dtype) -> None:
    param, optimizer = start(None, dtype)
    twin, untouched = start(None, dtype)
    matrices = {"b:4": signed_permutation(4), "a:5": signed_permutation(5)}
    for seed, new in enumerate((Warp(matrices), permuted(Warp(matrices)), None)):
        optimizer.change_warp(new)
        run(param, optimizer, seed)
        run(twin, untouched, seed)
        assert torch.equal(param, twin)
    assert torch.equal(optimizer.state[param]["exp_avg_sq"], untouched.state[twin]["exp_avg_sq"])


def test_a_signed_permutation_of_p_is_no_change() -> None:
    old = warp(0)
    param, optimizer = start(old)
    twin, untouched = start(old)
    run(param, optimizer, 1)
    run(twin, untouched, 1)
    before = optimizer.state[param]["exp_avg_sq"].clone()
    optimizer.change_warp(permuted(old))
    after = optimizer.state[param]["exp_avg_sq"]
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
    run(param, optimizer, 2)
    run(twin, untouched, 2)
    assert torch.allclose(param, twin, rtol=1e-9, atol=1e-12)


def test_a_warp_that_is_not_orthogonal_is_left_by_its_inverse() -> None:
    skewed = Warp({"a:5": torch.eye(5) + 0.3 * torch.randn(5, 5, generator=torch.Generator().manual_seed(0))})
    param, optimizer = start(skewed)
    twin, untouched = start(None)
    run(param, optimizer, 1)
    run(twin, untouched, 1)
    optimizer.change_warp(None)
    assert torch.allclose(optimizer.state[param]["exp_avg"], untouched.state[twin]["exp_avg"], atol=1e-6)


def test_a_warp_with_fewer_axes_leaves_the_others() -> None:
    param, optimizer = start(warp(0))
    run(param, optimizer, 1)
    optimizer.change_warp(Warp({"a:5": rotation(5, 9)}))
    assert [axis.key for axis in optimizer.coverage().covered] == ["a:5"]
    run(param, optimizer, 2)


def test_a_refused_warp_changes_nothing() -> None:
    param, optimizer = start(warp(0))
    run(param, optimizer, 1)
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match="no axis of these parameters"):
        optimizer.change_warp(Warp({"c:9": rotation(9)}))
    after = optimizer.state_dict()
    assert before["param_groups"] == after["param_groups"]
    assert torch.equal(before["state"][0]["exp_avg"], after["state"][0]["exp_avg"])


def test_a_state_saved_after_the_change_belongs_to_the_new_warp() -> None:
    param, optimizer = start(warp(0))
    run(param, optimizer, 1)
    optimizer.change_warp(warp(7))
    start(warp(7))[1].load_state_dict(optimizer.state_dict())
    with pytest.raises(ValueError, match="then call change_warp"):
        start(warp(0))[1].load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("beta2", [0.95, 0.999])
@pytest.mark.parametrize(("first", "second"), [(None, 7), (7, None), (0, 7), (7, 0)], ids=str)
def test_a_swap_of_bases_leaves_the_size_of_the_step(first: int | None, second: int | None, beta2: float) -> None:
    """16 runs at once, with gradients of very different sizes along the directions of one of the bases."""

    def wide(seed: int) -> Warp:
        return Warp({"b:16": rotation(16, seed), "a:12": rotation(12, seed + 1)})

    axes = (None, "b:16", "a:12")
    scales = torch.logspace(0, -1, 16)[:, None] * torch.logspace(0, -0.5, 12)
    sequence = [wide(7).apply_transpose(scales * g, axes) for g in gradients((16, 16, 12), 61, 5)]
    norms = []
    for swap in (False, True):
        param = torch.zeros(16, 16, 12, requires_grad=True)
        warp = None if first is None else wide(first)
        optimizer = WarpAdam([("w", param)], lr=0.01, betas=(0.9, beta2), warp=warp, axes={"w": axes})
        for step, gradient in enumerate(sequence):
            if step == 60:
                before = param.detach().clone()
                if swap:
                    optimizer.change_warp(None if second is None else wide(second))
            param.grad = gradient
            optimizer.step()
        norms.append(float((param.detach() - before).norm()))
    assert 0.8 <= norms[1] / norms[0] <= 1.2
