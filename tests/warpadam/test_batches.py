"""Parameters that go through the update together come out as they would alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.warpadam.matrices import rotation
from warpadam import Warp, WarpAdam, update
from warpadam.warp import turn, turn_stacked

SHAPES = {"a": (4, 5), "b": (4, 5), "c": (4, 5), "d": (6, 3, 2, 2), "e": (6, 3, 2, 2), "f": (5,), "g": (5,)}
AXES: dict[str, tuple[str | None, ...]] = {
    "a": ("r:4", "x:5"),
    "b": ("s:4", "x:5"),
    "c": (None, "x:5"),
    "d": ("p:6", "q:3", "t:4"),
    "e": ("o:6", "q:3", "u:4"),
}
KEYS = ("r:4", "s:4", "x:5", "p:6", "o:6", "q:3", "t:4", "u:4")
WARP = Warp({key: rotation(int(key[2:]), seed) for seed, key in enumerate(KEYS)})


def draw(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}


def train(names: list[str], warp: Warp = WARP, dtype: torch.dtype = torch.float32, **options: Any) -> dict[str, Tensor]:
    params = {name: value.requires_grad_() for name, value in draw(dtype).items() if name in names}
    axes = {name: AXES[name] for name in names if name in AXES}
    optimizer = WarpAdam(params.items(), warp=warp, axes=axes, strict=False, lr=0.01, weight_decay=0.1, **options)
    for _ in range(10):
        for param in params.values():
            param.grad = (param + param.square()).detach()
        optimizer.step()
    return params


@pytest.mark.parametrize("project_back", [True, False])
def test_together_and_alone_are_the_same(project_back: bool) -> None:
    together = train(list(SHAPES), project_back=project_back)
    for name in SHAPES:
        alone = train([name], project_back=project_back)
        assert torch.allclose(together[name], alone[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("project_back", [True, False])
def test_fused_is_the_same_within_rounding(project_back: bool, dtype: torch.dtype) -> None:
    plain = train(list(SHAPES), dtype=dtype, project_back=project_back)
    fused = train(list(SHAPES), dtype=dtype, project_back=project_back, fused=True)
    for name in SHAPES:
        assert torch.allclose(plain[name], fused[name], rtol=1e-4 if dtype == torch.float32 else 2e-2, atol=1e-5)


def test_with_nesterov_fused_is_left_aside() -> None:
    plain, fused = (train(list(SHAPES), nesterov=True, fused=fused) for fused in (False, True))
    assert all(torch.equal(plain[name], fused[name]) for name in SHAPES)


def test_alike_parameters_share_a_batch_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    params = list(draw().values())
    warps = [[None if key is None else WARP.matrices[key] for key in AXES.get(name, ())] for name in SHAPES]
    dtypes = [torch.float32] * len(params)
    assert [batch.indices for batch in update.plan(params, warps, dtypes)] == [(0, 1), (2,), (3, 4), (5, 6)]
    monkeypatch.setattr(update, "CPU_BATCH", 30)
    assert [batch.indices for batch in update.plan(params, warps, dtypes)] == [(0,), (1,), (2,), (3,), (4,), (5, 6)]
    monkeypatch.setattr(update, "CPU_BATCH", 2**18)
    monkeypatch.setattr(update, "CPU_STACK", 19)
    assert [batch.indices for batch in update.plan(params, warps, dtypes)] == [(0,), (1,), (2,), (3,), (4,), (5, 6)]


def test_stacked_matrices_of_several_batches_are_not_mixed_up() -> None:
    """Each stack is made for one batch only: copies of one must never be taken for those of another."""
    params = [torch.zeros(2, 2 + i // 2) for i in range(40)]
    warps = [[torch.from_numpy(rotation(2, i)), None] for i in range(40)]
    for batch in update.plan(params, warps, [torch.float64] * 40):
        stacked = batch.matrices[0]
        assert isinstance(stacked, Tensor)
        for row, index in zip(stacked, batch.indices, strict=True):
            assert torch.equal(row, warps[index][0].double())


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", [(4,), (4, 5), (4, 3, 5)], ids=str)
def test_a_stack_is_turned_as_each_of_its_tensors(shape: tuple[int, ...], transpose: bool) -> None:
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    own = [torch.stack([torch.from_numpy(rotation(size, 7 * size + i)) for i in range(3)]) for size in shape]
    last = own[-1][0]
    turned = turn_stacked(x, [*own[:-1], last], transpose=transpose)
    for i in range(3):
        expected = turn(x[i], [*(matrices[i] for matrices in own[:-1]), last], transpose=transpose)
        assert torch.allclose(turned[i], expected, atol=1e-6)
