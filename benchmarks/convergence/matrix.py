"""Runs the matrix: tunes on tuning tasks, then judges on held-out ones, and never trains what the store already has."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

import torch
from torch import Tensor

from benchmarks.convergence import controls, grid, learning
from benchmarks.convergence.families import family as family_of
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import Warps, keys_of, learn
from benchmarks.convergence.methods import Method
from benchmarks.convergence.plan import Plan
from benchmarks.convergence.store import Configuration, Store, key_of
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.training import Outcome, Recipe, Run, stacks, train
from benchmarks.convergence.tuning import Choice, Scores, choose
from warpadam.shapes import AxisKeys, parameters
from warpadam.warp import Matrices

TUNING_SEED = 100
Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """A store and a plan."""

    store: Store
    plan: Plan
    say: Say = print

    def tune(self, family: Family, method: Method) -> dict[float, Choice]:
        """The setting for each anchor, by the tuning part of the tuning tasks alone."""
        middle = self.plan.window // 2
        windows = dict.fromkeys(self.plan.anchors, range(family.centre - middle, family.centre + middle + 1))
        for growth in range(self.plan.growth + 1):
            wanted = {anchor: self._grid(method, windows[anchor]) for anchor in windows}
            scores = self._tuning_scores(family, method, wanted)
            best = {anchor: choose(scores[anchor]) for anchor in windows}
            larger = {anchor: grid.grown(windows[anchor], best[anchor].setting) for anchor in windows}
            if larger == windows or growth == self.plan.growth:
                break
            windows = larger
        return {
            anchor: replace(choice, at_edge=grid.at_edge(windows[anchor], choice.setting))
            for anchor, choice in best.items()
        }

    def judge(
        self, family: Family, method: Method, setting_of: Callable[[float], Setting]
    ) -> dict[float, list[list[Outcome]]]:
        """ratio -> held-out task -> paired seed: the outcomes at these settings."""
        wanted = {
            ratio: [Run(setting_of(ratio), seed, grid.budget(family.T, ratio)) for seed in self.plan.seeds]
            for ratio in self.plan.ratios
        }
        found: dict[float, list[list[Outcome]]] = {ratio: [] for ratio in wanted}
        for task in family.held_out:
            outcomes = self.run(family, method, task, [run for runs in wanted.values() for run in runs])
            for ratio, runs in wanted.items():
                found[ratio].append([outcomes[run] for run in runs])
        return found

    def run(self, family: Family, method: Method, task: Task, runs: Iterable[Run]) -> dict[Run, Outcome]:
        """The outcome of each run, from the store where it is there."""
        task = controls.whitened(task) if method.whiten else task
        recipe, described = describe(family, method, task)
        keys = {run: key_of(_configuration(described, run)) for run in runs}
        missing = [run for run, key in keys.items() if key not in self.store]
        weights = sum(prod(parameter.shape) for parameter in parameters(task.model))
        for stack in stacks(missing, weights):
            outcomes = train(task, recipe, stack)
            self.store.add(
                (_configuration(described, run), outcome) for run, outcome in zip(stack, outcomes, strict=True)
            )
        if missing:
            self.say(f"{family.name}: {method.name}, {task.name}: {len(missing)} runs")
        return {run: self.store[key] for run, key in keys.items()}

    def _grid(self, method: Method, exponents: range) -> list[Setting]:
        plan = self.plan
        points = grid.settings(
            exponents, method.default.beta1, beta2=plan.beta2, warmup=plan.warmup, weight_decay=plan.weight_decay
        )
        return [*points, method.default]

    def _tuning_scores(
        self, family: Family, method: Method, wanted: Mapping[float, Sequence[Setting]]
    ) -> dict[float, Scores]:
        """anchor -> setting -> the tuning losses over tuning tasks and seeds."""
        count = self.plan.tuning_seeds or family.tuning_seeds
        runs = {
            (anchor, setting): [
                Run(setting, TUNING_SEED + seed, grid.budget(family.T, anchor)) for seed in range(count)
            ]
            for anchor, some in wanted.items()
            for setting in dict.fromkeys(some)
        }
        scores: dict[float, dict[Setting, list[float]]] = {anchor: {} for anchor in wanted}
        for task in family.tuning:
            outcomes = self.run(family, method, task, dict.fromkeys(run for some in runs.values() for run in some))
            for (anchor, setting), some in runs.items():
                scores[anchor].setdefault(setting, []).extend(outcomes[run]["tune"] for run in some)
        return {anchor: dict(found) for anchor, found in scores.items()}


def describe(family: Family, method: Method, task: Task) -> tuple[Recipe, dict[str, object]]:
    """How the method trains this task, and everything that its numbers depend on but setting, seed and budget."""
    keys = keys_of(family, task)
    warps: Warps = {} if method.warp is None else method.warp(family, task)
    if method.warp is not None:
        learning.assert_unseen(learn(family.name), [*family.tuning, *family.held_out])
    start = start_of(family.name, method.start)
    recipe = Recipe(
        method.make,
        {name: _along(row, warps) for name, row in keys.items() if any(key in warps for key in row)},
        all_axes(task, keys),
        family.batch_size,
        method.schedule,
        start,
    )
    described: dict[str, object] = {
        "family": family.name,
        "task": task.name,
        "data": task.digest[:16],
        "model": dict(task.model),
        "method": method.name,
        "code": method.code(),
        "warp": _digest({key: torch.from_numpy(P) for key, P in warps.items()}) if warps else None,
        "start": None if start is None else _digest(start),
        "batch_size": family.batch_size,
        "schedule": method.schedule,
    }
    return recipe, described


def all_axes(task: Task, keys: AxisKeys) -> dict[str, Sequence[str | None]]:
    """Every parameter of two axes or more, with its axes as its keys count them: a kernel's taps are one."""
    return {
        parameter.name: keys.get(parameter.name, parameter.roles)
        for parameter in parameters(task.model)
        if len(parameter.shape) > 1
    }


@cache
def start_of(name: str, kind: str) -> Mapping[str, Tensor] | None:
    """The weights that a family's jobs begin from: its own, compute-matched, or the contributors' average."""
    family = family_of(name)
    match kind:
        case "":
            return family.start
        case "matched":
            return learning.matched_start(family)
        case _:
            return learning.averaged(learn(name).final_weights)


def _along(row: Sequence[str | None], warps: Warps) -> Matrices:
    return [torch.from_numpy(warps[key]) if key is not None and key in warps else None for key in row]


def _configuration(described: Mapping[str, object], run: Run) -> Configuration:
    return {**described, "setting": run.setting.as_json(), "seed": run.seed, "steps": run.steps}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode() + tensors[name].numpy().tobytes())
    return total.hexdigest()[:16]
