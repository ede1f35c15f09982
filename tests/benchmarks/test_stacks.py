"""A stack of runs is the same as the runs alone: the plain modules, the real optimizers, one at a time."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.convergence import peers, training
from benchmarks.convergence.adapting import Adapting, AdaptingNesterov
from benchmarks.convergence.adapting_nadam import AdaptingNAdam
from benchmarks.convergence.forward import losses, outputs
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.tasks import Examples, Part, Task, TextPart, rows_part
from benchmarks.convergence.training import Recipe, Run
from benchmarks.convergence.updates import Adam, NAdam, Nesterov, Shampoo, Soap, Stacked, Update
from warpadam import Warp, WarpAdam
from warpadam.adapt import Mode
from workers.tasks.models import Model, build
from workers.tasks.schedules import factor

MLP = {"arch": "mlp", "hidden": [7], "activation": "relu", "input": 6, "output": 3}
CONVNET = {"arch": "convnet", "channels": [3, 4], "kernel": 3, "input": [6, 6, 1], "output": 3}
TRANSFORMER = {"arch": "transformer", "layers": 2, "width": 8, "heads": 2, "context": 5, "vocabulary": 11}
SETTINGS = [Setting(1e-2, 0.95), Setting(3e-3, 0.99, 0.2, 0.1), Setting(3e-2, 0.999)]


def table(classes: bool = False) -> Task:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 6)).astype(np.float32)
    y = rng.integers(0, 3, 40) if classes else rng.standard_normal((40, 3)).astype(np.float32)
    parts: dict[Part, Examples] = {
        "train": rows_part(x[:20], y[:20]), "tune": rows_part(x[20:30], y[20:30]), "test": rows_part(x[30:], y[30:])
    }  # fmt: skip
    return Task("table", "classification" if classes else "regression", frozenset({"rows"}), parts, MLP)


def plain(model: Model, task: Task, x: Tensor, y: Tensor) -> Tensor:
    found = model(x)
    if task.kind == "regression":
        return nn.functional.mse_loss(found, y)
    return nn.functional.cross_entropy(found.flatten(0, -2), y.flatten())


@pytest.mark.parametrize("model", [MLP, CONVNET, TRANSFORMER], ids=lambda model: model["arch"])
def test_stacked_losses_and_gradients_are_those_of_the_plain_modules(model: dict[str, object]) -> None:
    generator = torch.Generator().manual_seed(1)
    kind = "regression" if model is MLP else "language_modeling" if model is TRANSFORMER else "classification"
    shape = {"mlp": (2, 4, 6), "convnet": (2, 4, 6, 6, 1), "transformer": (2, 4, 5)}[str(model["arch"])]
    if model is TRANSFORMER:
        x, y = torch.randint(11, shape, generator=generator), torch.randint(11, shape, generator=generator)
    else:
        x = torch.randn(shape, generator=generator)
        y = torch.randn(2, 4, 3) if model is MLP else torch.randint(3, (2, 4), generator=generator)
    alone = [build(model, seed=seed) for seed in (1, 2)]
    names = [name for name, _ in alone[0].named_parameters()]
    with torch.no_grad():
        for module in alone:  # biases start at zero, norms at one: not what would show a mistake
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    stack = {n: torch.stack([dict(m.named_parameters())[n].detach() for m in alone]).requires_grad_() for n in names}
    found = losses(kind, outputs(model, stack, x), y)
    found.sum().backward()
    for run, module in enumerate(alone):
        expected = plain(module, replace(table(), kind=kind), x[run], y[run])
        expected.backward()
        assert torch.allclose(found[run], expected, atol=1e-5)
        for name, parameter in module.named_parameters():
            assert torch.allclose(stack[name].grad[run], parameter.grad, atol=1e-5), name


def alone(
    task: Task, run: Run, make: Callable[[Model, Setting], list[torch.optim.Optimizer]], batch_size: int
) -> Model:
    """The run in a plain loop with real optimizers."""
    model = build(task.model, seed=run.seed)
    optimizers = make(model, run.setting)
    places = task.batches(run.seed, run.steps, batch_size)
    for step in range(run.steps):
        model.zero_grad()
        plain(model, task, *task.parts["train"].pick(places[step])).backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = run.setting.lr * factor("cosine", step, run.steps, round(run.setting.warmup * run.steps))
            optimizer.step()
    return model


def rotations() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {f"{role}:{n}": np.linalg.qr(rng.standard_normal((n, n)))[0] for role, n in (("input", 6), ("output", 3))}


def adamw(model: Model, setting: Setting) -> list[torch.optim.Optimizer]:
    betas = (setting.beta1, setting.beta2)
    return [torch.optim.AdamW(model.parameters(), betas=betas, weight_decay=setting.weight_decay)]


def nadam(model: Model, setting: Setting) -> list[torch.optim.Optimizer]:
    betas, decay = (setting.beta1, setting.beta2), setting.weight_decay
    return [torch.optim.NAdam(model.parameters(), betas=betas, weight_decay=decay, decoupled_weight_decay=True)]


def warp_adam(
    project_back: bool = True, *, nesterov: bool = False, warped: bool = True
) -> Callable[[Model, Setting], list[torch.optim.Optimizer]]:
    def make(model: Model, setting: Setting) -> list[torch.optim.Optimizer]:
        options = {"betas": (setting.beta1, setting.beta2), "weight_decay": setting.weight_decay}
        warp = Warp(rotations()) if warped else None
        return [WarpAdam(model, warp=warp, project_back=project_back, nesterov=nesterov, **options)]

    return make


def adapting(
    axes: Mode, *, warped: bool = True, nesterov: bool = False
) -> Callable[[Model, Setting], list[torch.optim.Optimizer]]:
    def make(model: Model, setting: Setting) -> list[torch.optim.Optimizer]:
        options = {"betas": (setting.beta1, setting.beta2), "weight_decay": setting.weight_decay}
        warp = Warp(rotations()) if warped else None
        return [WarpAdam(model, warp=warp, adapt=axes, nesterov=nesterov, **options)]

    return make


CASES = {
    "adamw": (Adam, adamw, False),
    "nadam": (NAdam, nadam, False),
    "warp": (Adam, warp_adam(), True),
    "adamw nesterov": (Nesterov, warp_adam(nesterov=True, warped=False), False),
    "warp nesterov": (Nesterov, warp_adam(nesterov=True), True),
    "adapt hidden": (partial(Adapting, axes="hidden"), adapting("hidden"), True),
    "adapt all": (partial(Adapting, axes="all"), adapting("all"), True),
    "adapt nesterov": (partial(AdaptingNesterov, axes="hidden"), adapting("hidden", nesterov=True), True),
    "adapt from nothing": (partial(Adapting, axes="all"), adapting("all", warped=False), False),
    "paper": (lambda stacked: Adam(stacked, project_back=False), warp_adam(False), True),
}


@pytest.mark.parametrize("case", CASES)
def test_runs_of_a_stack_are_the_runs_alone(case: str) -> None:
    update, make, warped = CASES[case]
    task = table()
    keys = build(MLP, seed=0).axis_keys
    warps = {
        name: [torch.from_numpy(rotations()[key]).float() if key else None for key in row] for name, row in keys.items()
    }
    recipe = Recipe(update, warps if warped else {}, keys, batch_size=8)
    # budgets differ: the short runs must fall off the stack without a trace in the long ones
    runs = [Run(setting, seed, steps) for steps in (13, 5) for setting in SETTINGS for seed in (1, 2)]
    for run, outcome in zip(runs, training.train(task, recipe, runs), strict=True):
        model = alone(task, run, make, 8)
        x, y = task.parts["test"].pick(task.places("test"))
        assert outcome["test"] == pytest.approx(plain(model, task, x, y).item(), rel=2e-4), run


def stepped(update: Callable[[Stacked], Update], setting: Setting, steps: int) -> Tensor:
    """A matrix after steps on fixed random gradients."""
    generator = torch.Generator().manual_seed(4)
    weights = {"w": torch.randn(1, 4, 5, generator=generator)}
    made = update(Stacked(weights, [setting], {}, {"w": (None, None)}))
    for _ in range(steps):
        gradient = torch.randn(1, 4, 5, generator=generator)
        made.step({"w": gradient}, torch.tensor([setting.lr], dtype=torch.float64), 1)
    return weights["w"][0]


def test_an_adapting_nadam_whose_axes_have_nothing_to_adapt_is_nadam_and_else_another() -> None:
    setting = Setting(0.01, 0.95)

    def ended(update: Callable[[Stacked], Update], *keys: str | None) -> Tensor:
        weights = {"w": torch.eye(4, 5)[None].clone()}
        generator = torch.Generator().manual_seed(4)
        made = update(Stacked(weights, [setting], {}, {"w": keys}))
        for _ in range(9):
            gradient = torch.randn(1, 4, 5, generator=generator)
            made.step({"w": gradient}, torch.tensor([setting.lr], dtype=torch.float64), 1)
        return weights["w"]

    fixed = ended(NAdam, "input", "output")
    assert torch.allclose(ended(AdaptingNAdam, "input", "output"), fixed, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ended(AdaptingNAdam, None, None), fixed, rtol=1e-2)
    assert not torch.allclose(ended(Adapting, None, None), ended(AdaptingNAdam, None, None), rtol=1e-2)


def test_soap_from_a_first_step_is_adam_in_the_gradients_singular_basis() -> None:
    """One step of Adam from nothing is the sign; in the singular basis of G it is U sign(S) Vᵀ on S's diagonal."""
    before, after = stepped(Soap, Setting(0.1), 0), stepped(Soap, Setting(0.1), 1)
    generator = torch.Generator().manual_seed(4)
    torch.randn(1, 4, 5, generator=generator)
    G = torch.randn(1, 4, 5, generator=generator)[0]
    U, _, V = torch.linalg.svd(G, full_matrices=False)
    moved = U.T @ (before - after) @ V.T
    assert torch.allclose(moved.diagonal().abs(), torch.full((4,), 0.1), rtol=1e-3)


def test_soap_stays_orthogonal_and_finite_over_many_bases() -> None:
    generator = torch.Generator().manual_seed(4)
    weights = {"w": torch.randn(2, 4, 5, generator=generator)}
    soap = Soap(Stacked(weights, SETTINGS[:2], {}, {"w": (None, None)}))
    for _ in range(45):
        soap.step({"w": torch.randn(2, 4, 5, generator=generator)}, torch.tensor([0.01, 0.01]), 2)
    for Q in soap.bases["w"]:
        assert torch.allclose(Q @ Q.mT, torch.eye(Q.shape[-1]).expand_as(Q), atol=1e-5)
    assert weights["w"].isfinite().all()


def test_shampoo_has_the_length_of_adams_step_and_another_direction() -> None:
    start = stepped(Adam, Setting(0.1), 0)
    ours, adams = (start - stepped(update, Setting(0.1), 1) for update in (Shampoo, Adam))
    assert torch.allclose(ours.norm(), adams.norm(), rtol=1e-4)
    assert torch.nn.functional.cosine_similarity(ours.flatten(), adams.flatten(), dim=0) < 0.99


@pytest.mark.parametrize("make", [peers.muon, peers.soap, peers.shampoo, peers.schedule_free])
def test_a_packages_optimizer_on_views_is_the_same_on_a_plain_model(make: peers.Make) -> None:
    task = table(classes=True)
    keys = build(MLP, seed=0).axis_keys
    runs = [Run(setting, 1, steps) for steps in (25, 4) for setting in SETTINGS[:2]]
    recipe = Recipe(lambda stacked: peers.Packaged(stacked, make), {}, keys, 8)
    for run, outcome in zip(runs, training.train(task, recipe, runs), strict=True):
        stacked = Stacked({}, [run.setting], {}, keys)
        kept: list[torch.optim.Optimizer] = []

        def create(model: Model, setting: Setting) -> list[torch.optim.Optimizer]:
            kept.extend(make(dict(model.named_parameters()), setting, stacked))  # noqa: B023  # used at once
            return kept  # noqa: B023

        model = alone(task, run, create, 8)
        for optimizer in kept:
            if hasattr(optimizer, "eval"):
                optimizer.eval()
        x, y = task.parts["test"].pick(task.places("test"))
        # bases of matrices without full rank turn on the last bit of a sum
        assert outcome["test"] == pytest.approx(plain(model, task, x, y).item(), rel=2e-2)


def test_text_windows_are_shifted_by_one() -> None:
    part = TextPart(torch.arange(20, dtype=torch.uint8), 4)
    x, y = part.pick(torch.tensor([[0, 3]]))
    assert x.tolist() == [[[0, 1, 2, 3], [3, 4, 5, 6]]]
    assert y.tolist() == [[[1, 2, 3, 4], [4, 5, 6, 7]]]
    assert len(part) == 16
