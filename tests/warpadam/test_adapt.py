"""P that keeps adapting within a job: SOAP's published update, state, orthogonality, and what adapts."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.warpadam.matrices import gradients, rotation
from tests.warpadam.soap_reference import Soap
from warpadam import Warp, WarpAdam
from warpadam.adapt import Adaptation

AXES = {"0.weight": (f"param:0.weight:0:8@{'0' * 12}", "input:6"), "2.weight": ("output:3", None)}
WARP = Warp({"input:6": rotation(6), f"param:0.weight:0:8@{'0' * 12}": rotation(8, 1)})
OPTIONS: dict[str, Any] = {"lr": 3e-3, "betas": (0.95, 0.95)}
PRINTED = Adaptation(axes="all", every=10, early=False, first="power", carry="keep", damping=0.0)


def model(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 1) -> None:
    draw = torch.Generator().manual_seed(seed)
    dtype = next(net.parameters()).dtype
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(16, 6, generator=draw).to(dtype)).square().sum().backward()
        optimizer.step()


def pull(shape: tuple[int, int], seed: int = 0) -> Callable[[Tensor, int], Tensor]:
    """A gradient with directions of very different size, so that eigenvectors are well determined."""
    A = torch.randn(shape[0], shape[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scales = torch.logspace(0, -2, shape[0], dtype=torch.float64)[:, None] * torch.logspace(0, -1, shape[1])
    noise = gradients(shape, 200, seed, torch.float64)
    return lambda W, t: A @ (scales * noise[t]) + 0.3 * W


@pytest.mark.parametrize("skip_first", [False, True], ids=["printed", "as its authors start"])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=str)
def test_adapting_all_axes_from_the_identity_is_soap(skip_first: bool, dtype: torch.dtype, within: float) -> None:
    shape, gradient = (6, 5), pull((6, 5))
    theirs = Soap(shape, every=10, skip_first=skip_first)
    W = torch.ones(shape, dtype=torch.float64)
    ours = torch.ones(shape, dtype=dtype, requires_grad=True)
    optimizer = WarpAdam([ours], adapt=Adaptation.soap() if skip_first else PRINTED, **OPTIONS)
    for t in range(60):
        G = gradient(W, t)
        W = theirs.step(W, G)
        ours.grad = G.to(dtype)
        optimizer.step()
        assert (ours - W).abs().max() <= within


def test_before_its_first_refresh_it_is_the_given_p_and_then_no_longer() -> None:
    nets = model(), model()
    fixed, moving = (
        WarpAdam(net, warp=WARP, axes=AXES, strict=False, adapt=adapt, **OPTIONS)
        for net, adapt in zip(nets, ("none", Adaptation(axes="all", every=10, early=False)), strict=True)
    )
    for steps, equal in ((10, True), (2, False)):
        train(nets[0], fixed, steps, seed=steps)
        train(nets[1], moving, steps, seed=steps)
        assert torch.allclose(nets[0][0].weight, nets[1][0].weight, atol=1e-6) is equal


def test_it_moves_after_powers_of_two_and_then_at_every_interval() -> None:
    assert [step for step in range(1, 301) if Adaptation().due(step)] == [1, 2, 4, 8, 16, 32, 64, 100, 200, 300]
    assert [step for step in range(1, 31) if Adaptation(every=10, early=False).due(step)] == [10, 20, 30]


def test_an_axis_without_a_matrix_takes_the_first_gradients_own_basis() -> None:
    """After one step both axes are in the singular basis of G, in which the moments are diagonal."""
    param = torch.zeros(4, 6, requires_grad=True)
    optimizer = WarpAdam([param], adapt="all")
    param.grad = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    moved = optimizer.state[param]["exp_avg"]
    largest = torch.linalg.svdvals(0.1 * param.grad)
    assert torch.allclose(moved[:, :4].abs(), torch.diag(largest), atol=1e-2 * largest[0])
    assert torch.allclose(moved[:, 4:], torch.zeros(4, 2), atol=1e-2 * largest[0])


def test_directions_without_evidence_stay_where_they_are() -> None:
    """A gradient of rank 1: what it does not touch keeps the identity's order, whatever the last bits are."""
    param = torch.zeros(5, 3, requires_grad=True)
    optimizer = WarpAdam([param], adapt="all")
    param.grad = torch.zeros(5, 3)
    param.grad[2] = torch.tensor([1.0, 0.0, 0.0])
    optimizer.step()
    expected = torch.zeros(5, 5)
    expected[range(5), [2, 0, 1, 3, 4]] = 1.0
    assert torch.allclose(optimizer.state[param]["basis_0"].abs(), expected, atol=1e-6)


def test_a_state_of_before_the_early_steps_goes_on_as_it_was() -> None:
    old = {name: value for name, value in Adaptation(axes="all", every=10).stored().items() if name != "early"}
    assert Adaptation.read(old) == Adaptation(axes="all", every=10, early=False)


def test_hidden_are_the_axes_without_a_key_or_with_a_hidden_one() -> None:
    optimizer = WarpAdam(model(), warp=WARP, axes=AXES, strict=False, adapt="hidden")
    assert [axis.adapts for axis in optimizer.coverage().axes] == [True, False, False, True]
    assert "0.weight[0] size 8" in str(optimizer.coverage()).splitlines()[1]
    assert str(optimizer.coverage()).splitlines()[1].endswith("adapts")
    everything = WarpAdam(model(), warp=WARP, axes=AXES, strict=False, adapt="all")
    assert all(axis.adapts for axis in everything.coverage().axes)
    assert not any(axis.adapts for axis in WarpAdam(model(), warp=WARP, axes=AXES, strict=False).coverage().axes)


def test_an_axis_above_the_cap_stays_the_identity() -> None:
    words = nn.Embedding(50_000, 4)
    words(torch.tensor([1, 2])).sum().backward()
    optimizer = WarpAdam(words, adapt="all")
    optimizer.step()
    assert sorted(optimizer.state[words.weight]) == ["basis_1", "exp_avg", "exp_avg_sq", "gram_1", "step"]


@pytest.mark.parametrize("adapt", ["hidden", "all", Adaptation.soap(every=3)], ids=["hidden", "all", "soap"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resume_gives_the_same_bits(adapt: Any, dtype: torch.dtype) -> None:
    import copy

    net = model(dtype=dtype)
    optimizer = WarpAdam(net, warp=WARP, axes=AXES, strict=False, adapt=adapt, weight_decay=0.1, **OPTIONS)
    train(net, optimizer, 14)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    saved = copy.deepcopy(net)
    resumed = WarpAdam(saved, warp=WARP, axes=AXES, strict=False, adapt="all")
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(net, optimizer, 14, seed=2)
    train(saved, resumed, 14, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), saved.parameters(), strict=True))
    basis = resumed.state[saved[2].weight]["basis_1"]
    assert basis.dtype == torch.float32


def test_a_deep_copy_goes_on_alike() -> None:
    import copy

    net = model()
    optimizer = WarpAdam(net, warp=WARP, axes=AXES, strict=False, adapt="all", **OPTIONS)
    train(net, optimizer, 12)
    pair = copy.deepcopy({"net": net, "optimizer": optimizer})
    train(net, optimizer, 12)
    train(pair["net"], pair["optimizer"], 12)  # type: ignore[arg-type]
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), pair["net"].parameters(), strict=True))  # type: ignore[attr-defined]


def test_it_stays_orthogonal_in_float32_through_many_refreshes() -> None:
    param = torch.zeros(24, 16, requires_grad=True)
    optimizer = WarpAdam([param], adapt=Adaptation(axes="all", every=1), betas=(0.9, 0.9))
    draw = torch.Generator().manual_seed(0)
    for step in range(3000):
        # Now and then nearly nothing, now and then of rank one: what an iteration could lose its rank to.
        scale = 1e-12 if step % 7 == 0 else 1e3 if step % 5 == 0 else 1.0
        param.grad = scale * torch.randn(24, 1, generator=draw) * torch.randn(1, 16, generator=draw)
        optimizer.step()
    for axis, size in ((0, 24), (1, 16)):
        P = optimizer.state[param][f"basis_{axis}"].double()
        assert (P @ P.T - torch.eye(size)).abs().max() <= 1e-5
    assert torch.isfinite(param).all()


def test_a_gradient_of_zeros_and_one_that_is_not_finite() -> None:
    param = torch.ones(3, 4, requires_grad=True)
    optimizer = WarpAdam([param], adapt=Adaptation(axes="all", every=1))
    param.grad = torch.zeros(3, 4)
    optimizer.step()
    assert torch.equal(param, torch.ones(3, 4))
    param.grad = torch.full((3, 4), float("nan"))
    with pytest.raises(RuntimeError, match="gradient that is not finite"):
        optimizer.step()


def test_a_change_of_warp_leaves_what_adapts() -> None:
    net = model()
    optimizer = WarpAdam(net, warp=WARP, axes=AXES, strict=False, adapt="hidden", **OPTIONS)
    train(net, optimizer, 12)
    before = {name: value.clone() for name, value in optimizer.state[net[0].weight].items()}
    optimizer.change_warp(Warp({"input:6": rotation(6, 9), "output:3": rotation(3, 9)}))
    after = optimizer.state[net[0].weight]
    assert torch.equal(before["basis_0"], after["basis_0"])
    assert not torch.allclose(before["exp_avg"], after["exp_avg"])
    train(net, optimizer, 12)


def test_a_state_of_plain_adam_can_begin_to_adapt() -> None:
    net = model()
    adamw = torch.optim.AdamW(net.parameters(), lr=0.01)
    train(net, adamw, 5)
    ours = WarpAdam(net, adapt="all")
    ours.load_state_dict(adamw.state_dict())
    for group in ours.param_groups:
        group["adapt"] = Adaptation(axes="all", every=5).stored()
    train(net, ours, 10)
    assert "basis_0" in ours.state[net[0].weight]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adapt": "some"}, "adapt: axes must be one of none, hidden, all, not 'some'"),
        ({"adapt": "all", "project_back": False}, "adapt needs project_back=True"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WarpAdam(model(), **options)


@pytest.mark.parametrize(
    "settings", [{"every": 0}, {"beta": 1.0}, {"damping": -1.0}, {"first": "best"}, {"carry": "none"}], ids=str
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="adapt: "):
        Adaptation(**settings)
