"""What `WarpAdam` is as a `torch.optim.Optimizer`: groups, closures, state, types, errors."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.warpadam.matrices import rotation
from warpadam import Warp, WarpAdam, update

AXES = {"0.weight": (None, "input:6"), "2.weight": ("output:3", None)}
WARP = Warp({"input:6": rotation(6), "output:3": rotation(3)})


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


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_resume_gives_the_same_bits(dtype: torch.dtype) -> None:
    net = model(dtype=dtype)
    optimizer = WarpAdam(net, lr=0.01, warp=WARP, axes=AXES, weight_decay=0.1)
    train(net, optimizer, 10)
    saved_net, saved = copy.deepcopy(net), through_a_file(optimizer.state_dict())
    train(net, optimizer, 10, seed=2)

    resumed = WarpAdam(saved_net, lr=0.5, warp=WARP, axes=AXES)
    resumed.load_state_dict(saved)
    train(saved_net, resumed, 10, seed=2)
    assert same(net, saved_net)
    assert resumed.param_groups[0]["lr"] == 0.01


def test_a_deep_copy_goes_on_alike() -> None:
    net = model()
    optimizer = WarpAdam(net, lr=0.01, warp=WARP, axes=AXES)
    train(net, optimizer, 5)
    pair = copy.deepcopy({"net": net, "optimizer": optimizer})
    train(net, optimizer, 5)
    train(pair["net"], pair["optimizer"], 5)  # type: ignore[arg-type]
    assert same(net, pair["net"])  # type: ignore[arg-type]


def test_moments_of_another_warp_are_refused() -> None:
    net = model()
    optimizer = WarpAdam(net, warp=WARP, axes=AXES)
    train(net, optimizer, 2)
    for other in (None, Warp({"input:6": rotation(6, 5)})):
        with pytest.raises(ValueError, match="this state was made under warp"):
            WarpAdam(net, warp=other, axes=AXES).load_state_dict(optimizer.state_dict())


def test_a_state_of_adamw_goes_on_bit_for_bit() -> None:
    net = model()
    adamw = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1, foreach=False)
    train(net, adamw, 5)
    twin = copy.deepcopy(net)
    ours = WarpAdam(twin)
    ours.load_state_dict(adamw.state_dict())
    train(net, adamw, 5)
    train(twin, ours, 5)
    assert same(net, twin)


def test_bfloat16_parameters_keep_float32_moments_and_small_updates() -> None:
    net = model(dtype=torch.bfloat16)
    optimizer = WarpAdam(net, warp=WARP, axes=AXES)
    train(net, optimizer, 3)
    optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
    for param in net.parameters():
        assert param.dtype == torch.bfloat16
        assert optimizer.state[param]["exp_avg"].dtype == optimizer.state[param]["exp_avg_sq"].dtype == torch.float32


def test_each_group_has_its_own_options() -> None:
    net, twin = model(), model()
    optimizer = WarpAdam(
        [
            {"params": [("0.weight", net[0].weight)], "lr": 0.02, "weight_decay": 0.1, "project_back": False},
            {"params": [("2.weight", net[2].weight)], "betas": (0.5, 0.6)},
        ],
        lr=0.01,
        warp=WARP,
        axes=AXES,
    )
    apart = [
        WarpAdam(
            [("0.weight", twin[0].weight)],
            lr=0.02,
            weight_decay=0.1,
            warp=WARP,
            axes={"0.weight": AXES["0.weight"]},
            project_back=False,
        ),
        WarpAdam(
            [("2.weight", twin[2].weight)], lr=0.01, betas=(0.5, 0.6), warp=WARP, axes={"2.weight": AXES["2.weight"]}
        ),
    ]
    for step in range(5):
        train(net, optimizer, 1, seed=step)
        twin.zero_grad()
        twin(torch.randn(16, 6, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        for each in apart:
            each.step()
    assert same(net, twin)


def test_a_group_added_later_gets_its_matrices_and_is_checked() -> None:
    net = model()
    optimizer = WarpAdam([("0.weight", net[0].weight)], warp=WARP, axes={"0.weight": AXES["0.weight"]})
    optimizer.add_param_group({"params": [("2.weight", net[2].weight)], "lr": 0.1})
    assert len(optimizer.coverage().axes) == 4
    with pytest.raises(ValueError, match="lr must be a finite number of at least 0, not -1"):
        optimizer.add_param_group({"params": [("2.bias", net[2].bias)], "lr": -1})


def test_a_closure_runs_once_with_gradients_on_and_its_loss_comes_back() -> None:
    param = torch.ones(3, requires_grad=True)
    optimizer = WarpAdam([param], lr=0.1)
    calls: list[bool] = []

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = param.square().sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 3.0
    assert calls == [True]
    assert torch.allclose(param, torch.full((3,), 0.9))
    assert optimizer.step() is None


def test_a_parameter_without_gradient_stays_and_keeps_no_state() -> None:
    used, unused = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = WarpAdam([used, unused], weight_decay=0.5)
    used.sum().backward()
    optimizer.step()
    assert torch.equal(unused, torch.ones(2))
    assert unused not in optimizer.state


def test_plain_parameters_are_adam_and_a_warp_for_them_is_an_error() -> None:
    net = model()
    assert len(WarpAdam(net.parameters()).param_groups[0]["params"]) == 4
    with pytest.raises(ValueError, match="plain parameters have no names"):
        WarpAdam(net.parameters(), warp=WARP, axes=AXES)
    assert not WarpAdam(net.parameters(), warp=WARP, strict=False).coverage().covered


def test_a_warp_can_be_a_path(tmp_path: Path) -> None:
    WARP.save(tmp_path / "p.safetensors")
    nets = model(), model()
    train(nets[0], WarpAdam(nets[0], warp=tmp_path / "p.safetensors", axes=AXES), 3)
    train(nets[1], WarpAdam(nets[1], warp=WARP, axes=AXES), 3)
    assert same(*nets)


def test_axes_without_a_matrix_multiply_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    turned: list[int] = []
    original = update.turn

    def counting(tensor: Tensor, matrices: Any, *, transpose: bool = False) -> Tensor:
        turned.append(sum(matrix is not None for matrix in matrices))
        return original(tensor, matrices, transpose=transpose)

    monkeypatch.setattr(update, "turn", counting)
    net = model()
    train(net, WarpAdam(net, warp=WARP, axes=AXES), 1)
    assert turned == [1, 1, 1, 1]  # two weights with one matrix each, there and back; biases never
    turned.clear()
    train(net, WarpAdam(net), 1)
    assert turned == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must be a finite number of at least 0, not -1"),
        ({"lr": float("nan")}, "lr must be a finite number of at least 0, not nan"),
        ({"eps": -1e-8}, "eps must be a finite number of at least 0"),
        ({"weight_decay": float("inf")}, "weight_decay must be a finite number of at least 0, not inf"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers of at least 0 and below 1, not \(0.9, 1.0\)"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
    ],
)
def test_bad_options_say_the_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WarpAdam(model(), **options)


def test_sparse_gradients_and_complex_parameters_are_refused() -> None:
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse=False"):
        WarpAdam(embedding).step()
    wave = torch.ones(2, dtype=torch.complex64, requires_grad=True)
    wave.abs().sum().backward()
    with pytest.raises(RuntimeError, match="view_as_real"):
        WarpAdam([wave]).step()
