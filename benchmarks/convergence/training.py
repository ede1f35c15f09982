"""Trains many runs of one task at once, each with its own setting, seed and budget, and judges each at its end.

A run is the same as alone: its own weights, batches and schedule. Runs are sorted by budget, so that those that have
ended fall off the back of the stack.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite

import torch
from torch import Tensor

from benchmarks.convergence.forward import losses, outputs
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.tasks import PARTS, Task
from benchmarks.convergence.updates import Stacked, Update
from warpadam.warp import Matrices
from workers.tasks.models import build
from workers.tasks.schedules import Schedule, factor

STACK_VALUES = 700_000
"""About how many weights are trained at once: more and they leave the processor's caches."""
EVALUATED_AT_ONCE = 1024


@dataclass(frozen=True)
class Run:
    """One training run of a task under a method."""

    setting: Setting
    seed: int
    steps: int


@dataclass(frozen=True)
class Recipe:
    """What the runs of a stack have in common. `warps` is P, one matrix or None per axis of a parameter."""

    make: Callable[[Stacked], Update]
    warps: Mapping[str, Matrices]
    axes: Mapping[str, Sequence[str | None]]
    batch_size: int
    schedule: Schedule = "cosine"
    start: Mapping[str, Tensor] | None = None


Outcome = Mapping[str, float]
"""The loss of each part at the end; 1e30 for a run that went to infinity."""
LOST = 1e30


def stacks(runs: Sequence[Run], weights: int) -> Iterator[list[Run]]:
    """The runs in stacks of about equal budgets, longest first, and a bounded number of weights."""
    ordered = sorted(runs, key=lambda run: -run.steps)
    count = max(1, STACK_VALUES // weights)
    pieces = max(1, ceil(len(ordered) / count))
    size = max(1, ceil(len(ordered) / pieces))
    for begin in range(0, len(ordered), size):
        yield ordered[begin : begin + size]


def train(task: Task, recipe: Recipe, runs: Sequence[Run]) -> list[Outcome]:
    """The outcomes of the runs, which must be sorted by budget, longest first."""
    if [run.steps for run in runs] != sorted((run.steps for run in runs), reverse=True):
        raise ValueError("runs of a stack are sorted by their steps, longest first")
    weights = initial(task, recipe, [run.seed for run in runs])
    stacked = Stacked(weights, [run.setting for run in runs], recipe.warps, recipe.axes)
    update = recipe.make(stacked)
    batches = _Batches(task, runs, recipe.batch_size)
    outcomes: list[Outcome] = [{}] * len(runs)
    active = len(runs)
    for step in range(runs[0].steps):
        lr = torch.tensor([_rate(run, recipe.schedule, step) for run in runs[:active]], dtype=torch.float64)
        update.step(gradients(task, weights, batches.at(step, active), active), lr, active)
        while active and runs[active - 1].steps == step + 1:
            active -= 1
            update.settle(active)
            outcomes[active] = judge(task, {name: weight[active] for name, weight in weights.items()})
    return outcomes


def initial(task: Task, recipe: Recipe, seeds: Sequence[int]) -> dict[str, Tensor]:
    """The weights of each run as a stack: drawn from its seed, or the start that the family shares."""
    if recipe.start is not None:
        return {name: weight.expand(len(seeds), *weight.shape).clone() for name, weight in recipe.start.items()}
    drawn = {seed: dict(build(task.model, seed=seed).named_parameters()) for seed in set(seeds)}
    names = list(next(iter(drawn.values())))
    return {name: torch.stack([drawn[seed][name].detach() for seed in seeds]) for name in names}


def gradients(
    task: Task, weights: Mapping[str, Tensor], batch: tuple[Tensor, Tensor], active: int
) -> dict[str, Tensor]:
    """The gradient of each run's own loss."""
    leaves = {name: weight[:active].detach().requires_grad_() for name, weight in weights.items()}
    x, y = batch
    total = losses(task.kind, outputs(task.model, leaves, x), y).sum()
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


@torch.no_grad()
def judge(task: Task, weights: Mapping[str, Tensor]) -> Outcome:
    """The mean loss over each part of one model's weights."""
    stack = {name: weight[None] for name, weight in weights.items()}
    found: dict[str, float] = {}
    for part in PARTS:
        places = task.places(part)
        sums, count = 0.0, 0
        for some in torch.split(places, EVALUATED_AT_ONCE):
            x, y = task.parts[part].pick(some[None])
            sums += float(losses(task.kind, outputs(task.model, stack, x), y)) * len(some)
            count += len(some)
        found[part] = sums / count if isfinite(sums) else LOST
    return found


def _rate(run: Run, schedule: Schedule, step: int) -> float:
    return run.setting.lr * factor(schedule, step, run.steps, round(run.setting.warmup * run.steps))


class _Batches:
    """The batch of every active run at a step: runs of one seed see the same examples."""

    def __init__(self, task: Task, runs: Sequence[Run], batch_size: int) -> None:
        self._examples = task.parts["train"]
        seeds = sorted({run.seed for run in runs})
        self._places = torch.stack([task.batches(seed, runs[0].steps, batch_size) for seed in seeds])
        self._which = torch.tensor([seeds.index(run.seed) for run in runs])

    def at(self, step: int, active: int) -> tuple[Tensor, Tensor]:
        return self._examples.pick(self._places[self._which[:active], step])
