"""P from a family's contributors, by the product's own rule, and the proof that no held-out data is in it.

Contributors are ordinary jobs: they train with Adam at the family's learning rate, their gradients are observed, and
what was observed is packed, merged and solved as in the service. Evaluation jobs observe nothing (`learn: none`).
"""

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.convergence import forward, updates
from benchmarks.convergence.cache import kept
from benchmarks.convergence.families import family as family_of
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.store import code_version
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.training import Recipe, gradients, initial
from benchmarks.convergence.updates import Adam, Stacked
from warpadam.learn import RULES, Contribution, LearningRule, Statistics, check_contribution, observe
from warpadam.shapes import AxisKeys, axis_keys, sharing_by_key, sizes_by_key
from workers.tasks.schedules import factor

Warps = Mapping[str, NDArray[np.float32]]
SYNC_EVERY = 50


@dataclass(frozen=True, eq=False)
class Learned:
    """A numbered P of a family: fixed before any job is judged. `lineage`: job -> digest of the data that it saw."""

    warps: Warps
    statistics: Statistics
    lineage: Mapping[str, str]
    sources: frozenset[str]
    final_weights: Sequence[Mapping[str, Tensor]]

    @property
    def version(self) -> str:
        """12 hex digits of the matrices."""
        total = hashlib.sha256()
        for key in sorted(self.warps):
            total.update(key.encode() + self.warps[key].tobytes())
        return total.hexdigest()[:12]


def assert_unseen(learned: Learned, tasks: Sequence[Task]) -> None:
    """AssertionError unless every job of the statistics is in the lineage, and no task's data or source is."""
    if set(learned.statistics.jobs) != set(learned.lineage):
        raise AssertionError("P's statistics hold jobs that its lineage does not name")
    for task in tasks:
        if task.digest in learned.lineage.values() or task.sources & learned.sources:
            raise AssertionError(f"{task.name} is held out, and its data is in the lineage of P")


@cache
def learn(name: str, jobs: int = 20, *, rule: str = "covariance", observed: float = 1.0) -> Learned:
    """P of the first `jobs` contributors; `observed` is the share of their steps, from the first on, that count."""
    family = family_of(name)
    return learn_from(family, family.contributors[:jobs], RULES[rule], observed)


def learn_from(family: Family, tasks: Sequence[Task], rule: LearningRule, observed: float = 1.0) -> Learned:
    statistics, finals = Statistics(), []
    for number, task in enumerate(tasks):
        contributions, weights = _contributed(family, task, rule, seed=1000 + number, observed=observed)
        for contribution in contributions:
            statistics = rule.merge(statistics, contribution)
        finals.append(weights)
    return Learned(
        rule.solve(statistics).matrices,
        statistics,
        {_job(family, task): task.digest for task in tasks},
        frozenset().union(*(task.sources for task in tasks)),
        finals,
    )


def keys_of(family: Family, task: Task) -> AxisKeys:
    """The axes of the task's model: hidden ones have a key only where the family's jobs share a start."""
    return axis_keys(task.model, family.anchor)


def averaged(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of models of one shape, weight by weight."""
    return {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}


def _job(family: Family, task: Task) -> str:
    return f"{family.name}/{task.name}"


def _contributed(
    family: Family, task: Task, rule: LearningRule, *, seed: int, observed: float
) -> tuple[list[Contribution], dict[str, Tensor]]:
    """`_contribute`, kept on the disk by everything that it depends on."""
    files = [Path(str(module.__file__)) for module in (sys.modules[__name__], forward, updates, observe)]
    made_from = (
        f"{family.name} {family.T} {family.batch_size} {family.learning_rate} {family.anchor} {task.digest} "
        f"{task.name} {task.model} {rule} {seed} {observed} {code_version(*files)}"
    )

    def make() -> dict[str, Tensor]:
        contributions, weights = _contribute(family, task, rule, seed=seed, observed=observed)
        encoded = {
            f"contribution {number:04}": torch.frombuffer(bytearray(each.encode()), dtype=torch.uint8)
            for number, each in enumerate(contributions)
        }
        return {**encoded, **{f"weight {name}": weight for name, weight in weights.items()}}

    found = kept("job", made_from, make)
    named = {name: found[f"weight {name}"] for name in (key[7:] for key in found if key.startswith("weight "))}
    ordered = [found[name] for name in sorted(found) if name.startswith("contribution ")]
    return [Contribution.decode(bytes(each.numpy())) for each in ordered], named


def _contribute(
    family: Family, task: Task, rule: LearningRule, *, seed: int, observed: float
) -> tuple[list[Contribution], dict[str, Tensor]]:
    """One job: what it contributes, every SYNC_EVERY steps, and the weights that it ends with."""
    keys = keys_of(family, task)
    observer = rule.observe(keys)
    counted = max(1, round(observed * family.T))
    contributions: list[Contribution] = []

    def see(step: int, found: Mapping[str, Tensor]) -> None:
        if step >= counted:
            return
        observer.observe((name, gradient[0]) for name, gradient in found.items())
        if (step + 1) % SYNC_EVERY == 0 or step + 1 == counted:
            start = contributions[-1].end if contributions else 0
            sums, skipped = observer.take()
            made = Contribution(
                rule.name, _job(family, task), 1, len(contributions), start, step + 1, None, sums, skipped
            )
            check_contribution(made, sizes_by_key(keys), sharing=sharing_by_key(keys))
            contributions.append(made)

    weights = run_alone(family, task, Setting(family.learning_rate), seed, family.T, see=see)
    return contributions, weights


def run_alone(
    family: Family,
    task: Task,
    setting: Setting,
    seed: int,
    steps: int,
    *,
    see: Callable[[int, Mapping[str, Tensor]], None] = lambda step, found: None,
    start: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """One AdamW run of a task with a cosine schedule; `see` is told each step's gradients. The final weights."""
    recipe = Recipe(Adam, {}, {}, family.batch_size, start=family.start if start is None else start)
    weights = initial(task, recipe, [seed])
    update = Adam(Stacked(weights, [setting], {}, {}))
    batches = task.batches(seed, steps, family.batch_size)
    for step in range(steps):
        found = gradients(task, weights, task.parts["train"].pick(batches[step][None]), 1)
        see(step, found)
        update.step(found, torch.tensor([setting.lr * factor("cosine", step, steps, 0)], dtype=torch.float64), 1)
    return {name: weight[0].clone() for name, weight in weights.items()}


def matched_start(family: Family) -> dict[str, Tensor]:
    """The start trained further on exactly the contributors' data, for as many steps as all of them took together.

    One run that sees the contributors' tasks in turn, a batch each.
    """
    tasks = family.contributors
    recipe = Recipe(Adam, {}, {}, family.batch_size, start=family.start)
    weights = initial(tasks[0], recipe, [0])
    setting = Setting(family.learning_rate)
    update = Adam(Stacked(weights, [setting], {}, {}))
    places = [task.batches(1000 + number, family.T, family.batch_size) for number, task in enumerate(tasks)]
    total = family.T * len(tasks)
    for step in range(total):
        turn, number = divmod(step, len(tasks))
        batch = tasks[number].parts["train"].pick(places[number][turn][None])
        lr = torch.tensor([setting.lr * factor("cosine", step, total, 0)], dtype=torch.float64)
        update.step(gradients(tasks[number], weights, batch, 1), lr, 1)
    return {name: weight[0].clone() for name, weight in weights.items()}


def with_start(family: Family, start: Mapping[str, Tensor]) -> Family:
    return replace(family, start=start)
