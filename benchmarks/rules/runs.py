"""One run of a task under one P, and what is observed on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.rules.tasks import Problem
from warpadam import Warp, WarpAdam
from warpadam.learn.observe import PairObserver
from warpadam.learn.rule import Weighting, step_weight
from warpadam.learn.statistics import Contribution
from workers.tasks import models
from workers.tasks.data import batches
from workers.tasks.schedules import factor

BETAS = (0.9, 0.95)
CPU = torch.device("cpu")
Matrices = Mapping[str, NDArray[np.float32]]


@dataclass
class Watched:
    """What a run is observed by: one observer for each weighting."""

    observers: dict[Weighting, PairObserver] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    loss: float
    """Mean validation loss at the end; infinity where it diverged."""
    weights: dict[str, Tensor]


def train(
    problem: Problem, *, steps: int, lr: float, seed: int, P: Matrices | None, watched: Watched | None = None
) -> Run:
    """A run of `steps` with a cosine schedule of its own. P None: AdamW."""
    torch.set_num_threads(1)
    model = models.build(problem.model, seed=seed, anchor=problem.anchor)
    if problem.base is not None:
        model.load_state_dict(problem.base)
    data = batches(
        problem.task,
        problem.split,
        context=problem.context,
        batch_size=problem.batch_size,
        seed=seed,
        device=CPU,
    )
    optimizer = WarpAdam(model, lr=lr, betas=BETAS, warp=None if P is None else Warp(P))
    for observer in () if watched is None else _observers(watched, model):
        observer.take()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * factor("cosine", step, steps, 0)
        inputs, targets = data.train(step)
        optimizer.zero_grad()
        loss = _loss(problem, model(inputs), targets)
        if not torch.isfinite(loss):
            return Run(float("inf"), {})
        loss.backward()
        if watched is not None:
            gradients = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
            for weighting, observer in watched.observers.items():
                observer.observe(gradients, step_weight(weighting, step / steps))
        optimizer.step()
    return Run(_validate(problem, model, data), {k: v.detach().clone() for k, v in model.state_dict().items()})


def contribute(watched: Watched, job: str, steps: int) -> dict[Weighting, Contribution]:
    """What the run saw, as contributions of `hypergradient`, which hold those of `covariance`."""
    return {
        weighting: Contribution("hypergradient", job, 1, 0, 0, steps, None, *observer.take())
        for weighting, observer in watched.observers.items()
    }


def _observers(watched: Watched, model: models.Model) -> list[PairObserver]:
    weightings: tuple[Weighting, ...] = ("uniform", "early", "decayed", "late")
    watched.observers = {weighting: PairObserver(model.axis_keys) for weighting in weightings}
    return list(watched.observers.values())


def _loss(problem: Problem, outputs: Tensor, targets: Tensor) -> Tensor:
    if problem.task == "regression":
        return nn.functional.mse_loss(outputs, targets)
    return nn.functional.cross_entropy(outputs.flatten(0, -2), targets.flatten())


@torch.no_grad()
def _validate(problem: Problem, model: models.Model, data: object) -> float:
    total, count = 0.0, 0
    for inputs, targets in data.validation():
        loss = float(_loss(problem, model(inputs), targets))
        total, count = total + loss * targets.numel(), count + targets.numel()
    return total / count
