"""Rounds of contributors. All of a round begin from one start, each trains on data of its own, and all are one stack.

What a round leaves behind is everything that some rule makes a start of: final weights, the mean of each trajectory's
tail, Leap's pull, gradients' squares; and the contributions that P is learned from, by the product's own rule.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.convergence import forward, updates
from benchmarks.convergence.cache import kept
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import SYNC_EVERY, Warps, keys_of
from benchmarks.convergence.store import code_version
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.updates import Adam, Stacked
from warpadam.learn import RULES, Contribution, check_contribution, observe
from warpadam.shapes import sharing_by_key, sizes_by_key
from warpadam.warp import Matrices
from workers.tasks.schedules import factor

Weights = Mapping[str, Tensor]
TAIL, LATE = 0.25, 0.5
"""The share of a trajectory that is its tail, and that gradients' squares are taken over."""
SEED = 1000
PARTS = ("finals", "tails", "leaps", "squares")


@dataclass(frozen=True, eq=False)
class Round:
    """Stacks (contributors, *shape): `finals` and `tails` are weights, `leaps` moves, `squares` of gradients."""

    began: Weights
    finals: Weights
    tails: Weights
    leaps: Weights
    squares: Weights
    contributions: Sequence[Contribution] = field(repr=False, default=())


def contribute(family: Family, tasks: Sequence[Task], began: Weights, number: int, under: Warps | None = None) -> Round:
    """Round `number`, from 0, of these tasks, with AdamW or `under` a P; kept on the disk."""
    files = [Path(__file__), *(Path(str(module.__file__)) for module in (forward, updates, observe))]
    made_from = " ".join(
        [
            f"{family.name} {family.T} {family.batch_size} {family.learning_rate} {family.anchor} {number}",
            f"{[task.digest for task in tasks]} {tasks[0].model} {digest(began)} {code_version(*files)}",
            "" if under is None else digest({key: torch.from_numpy(P) for key, P in under.items()}),
        ]
    )

    def make() -> dict[str, Tensor]:
        made = _train(family, tasks, began, number, under or {})
        encoded = {f"sent {i:05}": torch.frombuffer(bytearray(c.encode()), dtype=torch.uint8)
                   for i, c in enumerate(made.contributions)}  # fmt: skip
        stacks = {f"{part} {name}": stack for part in PARTS for name, stack in getattr(made, part).items()}
        return {**encoded, **stacks}

    found = kept("round", made_from, make)
    stacks = {part: {name: found[f"{part} {name}"] for name in began} for part in PARTS}
    sent = [Contribution.decode(bytes(found[key].numpy())) for key in sorted(found) if key.startswith("sent ")]
    return Round(began, contributions=sent, **stacks)


def _train(family: Family, tasks: Sequence[Task], began: Weights, number: int, under: Warps) -> Round:
    count, T = len(tasks), family.T
    weights = {name: weight.expand(count, *weight.shape).clone() for name, weight in began.items()}
    update = Adam(Stacked(weights, [Setting(family.learning_rate)] * count, along(family, tasks[0], under), {}))
    sums = {part: {name: torch.zeros_like(weight) for name, weight in weights.items()} for part in PARTS}
    watch = _Observers(family, tasks, number)
    places = [task.batches(SEED + 100 * number + i, T, family.batch_size) for i, task in enumerate(tasks)]
    last: Tensor | None = None
    for step in range(T):
        picked = [task.parts["train"].pick(places[i][step]) for i, task in enumerate(tasks)]
        batch = torch.stack([x for x, _ in picked]), torch.stack([y for _, y in picked])
        loss, found = losses_and_gradients(tasks[0], weights, batch)
        watch.see(step, found)
        before = {name: weight.clone() for name, weight in weights.items()}
        rate = family.learning_rate * factor("cosine", step, T, 0)
        update.step(found, torch.full((count,), rate, dtype=torch.float64), count)
        drop = torch.zeros(count) if last is None else (loss - last).abs()
        _leap(sums["leaps"], before, weights, found, drop)
        last = loss
        for name, gradient in found.items():
            if step >= T - round(TAIL * T):
                sums["tails"][name] += weights[name] / round(TAIL * T)
            if step >= T - round(LATE * T):
                sums["squares"][name] += gradient.square() / round(LATE * T)
    return Round(began, weights, sums["tails"], sums["leaps"], sums["squares"], watch.sent)


def _leap(sums: dict[str, Tensor], before: Weights, after: Weights, gradients: Weights, drop: Tensor) -> None:
    """Adds a segment's pull on the start: Σ (Δθ - |Δf| ∇f) / length, with the length in weights and loss together
    (Leap, arXiv 1812.01054: the length of the path, its loss taken as falling)."""
    moves = {name: after[name] - before[name] for name in after}
    squared = sum(move.flatten(1).square().sum(1) for move in moves.values()) + drop.square()
    length = torch.as_tensor(squared).sqrt().clamp_min(1e-12)
    for name, move in moves.items():
        pull = move - updates.wide(drop, move) * gradients[name]
        sums[name] += pull / updates.wide(length, move)


class _Observers:
    """Each job's observer: what the jobs send, a contribution every SYNC_EVERY steps."""

    def __init__(self, family: Family, tasks: Sequence[Task], number: int) -> None:
        self.rule, self.keys, self.T = RULES["covariance"], keys_of(family, tasks[0]), family.T
        self.jobs = [f"{family.name}/{task.name}/round {number}" for task in tasks]
        self.observers = [self.rule.observe(self.keys) for _ in tasks]
        self.sent: list[Contribution] = []
        self.begun = 0

    def see(self, step: int, gradients: Weights) -> None:
        for i, observer in enumerate(self.observers):
            observer.observe((name, gradient[i]) for name, gradient in gradients.items())
        if (step + 1) % SYNC_EVERY == 0 or step + 1 == self.T:
            sequence = self.begun // SYNC_EVERY
            for job, observer in zip(self.jobs, self.observers, strict=True):
                sums, skipped = observer.take()
                made = Contribution(self.rule.name, job, 1, sequence, self.begun, step + 1, None, sums, skipped)
                check_contribution(made, sizes_by_key(self.keys), sharing=sharing_by_key(self.keys))
                self.sent.append(made)
            self.begun = step + 1


def losses_and_gradients(
    task: Task, weights: Weights, batch: tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """(S,) losses and the gradient of each model's own; x and y (S, B, ...), of as many tasks as there are models."""
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    x, y = batch
    each = forward.losses(task.kind, forward.outputs(task.model, leaves, x), y)
    found = torch.autograd.grad(each.sum(), list(leaves.values()))
    return each.detach(), dict(zip(leaves, found, strict=True))


def along(family: Family, task: Task, warps: Warps) -> dict[str, Matrices]:
    """P by parameter, one matrix or None an axis."""
    return {
        name: [torch.from_numpy(warps[key]) if key is not None and key in warps else None for key in row]
        for name, row in keys_of(family, task).items()
        if any(key in warps for key in row)
    }


def digest(tensors: Weights) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].numpy().tobytes())
    return total.hexdigest()[:16]
