"""Joint distillation: one network taught by each contributor's final one on that contributor's data.

It begins at the product's start and takes a tenth of the contributors' steps, in one place that sees all of their data,
which the service does not have: a bound on what is left to gain, not a rule that could be shipped.
"""

import torch
from torch import Tensor

from benchmarks.convergence.forward import outputs
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.tasks import Family, Kind
from benchmarks.convergence.updates import Adam, Stacked
from benchmarks.starts.contributing import SEED, Round, Weights
from workers.tasks.schedules import factor

SHARE = 0.1


def distill(family: Family, start: Weights, taught: Round) -> Weights:
    tasks = family.contributors[: len(next(iter(taught.finals.values())))]
    each = max(1, round(SHARE * family.T))
    weights = {name: weight[None].clone() for name, weight in start.items()}
    update = Adam(Stacked(weights, [Setting(family.learning_rate)], {}, {}))
    places = [task.batches(SEED + 5000 + i, each, family.batch_size) for i, task in enumerate(tasks)]
    for step in range(each * len(tasks)):
        turn, i = divmod(step, len(tasks))
        x, _ = tasks[i].parts["train"].pick(places[i][turn][None])
        teacher = {name: stack[i][None] for name, stack in taught.finals.items()}
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        wanted = outputs(tasks[i].model, teacher, x)
        found = torch.autograd.grad(
            apart(tasks[i].kind, outputs(tasks[i].model, leaves, x), wanted), list(leaves.values())
        )
        rate = family.learning_rate * factor("cosine", step, each * len(tasks), 0)
        gradients = dict(zip(leaves, found, strict=True))
        update.step(gradients, torch.tensor([rate], dtype=torch.float64), 1)
    return {name: weight[0].clone() for name, weight in weights.items()}


def apart(kind: Kind, found: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared difference of outputs, or the cross-entropy of their distributions."""
    if kind == "regression":
        return (found - wanted).square().mean()
    return -(wanted.softmax(-1) * found.log_softmax(-1)).sum(-1).mean()
