"""Runs cells by the protocol of `convergence`: its grid, tuning, judging and store, with budgets down to T/8."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import log2, prod
from pathlib import Path

from torch import Tensor

from benchmarks.convergence import forward, grid, training, updates
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import keys_of
from benchmarks.convergence.matrix import Bench, all_axes
from benchmarks.convergence.methods import Method
from benchmarks.convergence.plan import Plan
from benchmarks.convergence.store import Configuration, code_version, key_of
from benchmarks.convergence.summary import Table, by_anchor
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.training import Outcome, Recipe, Run, stacks, train
from benchmarks.convergence.tuning import Choice, choose
from benchmarks.starts.cells import Cell, named
from benchmarks.starts.contributing import along, digest
from warpadam.shapes import parameters

RATIOS = (*(ratio for ratio in grid.RATIOS if ratio <= 1.5), 0.22, 0.2, 0.18, 0.167, 0.154, 0.143, 0.133, 0.125)
ANCHORS = (*grid.ANCHORS, 0.125)
FULL = Plan("full", RATIOS, ANCHORS, range(5), grid.BETA2, grid.WARMUP, grid.WINDOW, grid.GROWTH, ())
SHORT = Plan(
    "short",
    ratios=(1, 0.8, 0.67, 0.57, 0.5, 0.4, 0.33, 0.25, 0.2, 0.167, 0.143, 0.125),
    anchors=ANCHORS,
    seeds=range(3),
    beta2=(0.95, 0.999),
    warmup=(0.0,),
    window=3,
    growth=4,
    methods=(),
)
QUICK = replace(
    SHORT, name="quick", ratios=(1, 0.67, 0.5, 0.4, 0.33, 0.25, 0.167, 0.125), seeds=range(2), beta2=(0.95,), growth=2
)
PLANS: Mapping[str, Plan] = {plan.name: plan for plan in (FULL, SHORT, QUICK)}
"""How much is run: hours, an hour, minutes. The grid and its rules are those of `convergence`."""


@dataclass(frozen=True)
class StartBench(Bench):
    """As `Bench`, for methods that are cells: each brings the weights that its runs begin from."""

    def tune_once(self, family: Family, method: Method, found: Mapping[float, Choice]) -> Choice:
        """One setting for every budget: the least geometric mean over tuning tasks, seeds and tuned budgets.

        `found` are the settings that `tune` chose by budget; every learning rate between their least and their largest
        is tried at each budget, one beyond on either side.
        """
        exponents = [round(log2(choice.setting.lr / 1e-3)) for choice in found.values()]
        window = range(min(exponents) - 1, max(exponents) + 2)
        wanted = {anchor: self._grid(method, window) for anchor in found}
        pooled: dict[Setting, list[float]] = {}
        for scores in self._tuning_scores(family, method, wanted).values():
            for setting, losses in scores.items():
                pooled.setdefault(setting, []).extend(losses)
        choice = choose(pooled)
        return replace(choice, at_edge=grid.at_edge(window, choice.setting))

    def run(self, family: Family, method: Method, task: Task, runs: Iterable[Run]) -> dict[Run, Outcome]:
        recipe, described = describe(family, named(method.name), task)
        keys = {run: key_of(_configuration(described, run)) for run in runs}
        missing = [run for run, key in keys.items() if key not in self.store]
        for stack in stacks(missing, sum(prod(parameter.shape) for parameter in parameters(task.model))):
            outcomes = train(task, recipe, stack)
            self.store.add((_configuration(described, run), found) for run, found in zip(stack, outcomes, strict=True))
        return {run: self.store[key] for run, key in keys.items()}


def describe(family: Family, cell: Cell, task: Task) -> tuple[Recipe, dict[str, object]]:
    """How the cell trains this task, and everything that its numbers depend on but setting, seed and budget."""
    behind = cell.behind(family)
    start = family.start if cell.kind == "seed" else behind.weights
    assert start is not None
    P = along(family, task, behind.warps) if cell.warped else {}
    method = cell.method()
    recipe = Recipe(method.make, P, all_axes(task, keys_of(family, task)), family.batch_size, "cosine", start)
    flat = {f"{name} {axis}": M for name, row in P.items() for axis, M in enumerate(row) if isinstance(M, Tensor)}
    described: dict[str, object] = {
        "family": family.name,
        "task": task.name,
        "data": task.digest[:16],
        "model": dict(task.model),
        "code": code_version(*(Path(str(module.__file__)) for module in (forward, training, updates))),
        "warp": digest(flat) if flat else None,
        "start": digest(start),
        "batch_size": family.batch_size,
    }
    if cell.step:  # a run of Adam is the same as before there was anything else
        described |= {"step": cell.step, "code": method.code()}
    return recipe, described


@dataclass(frozen=True)
class Judged:
    """A cell's outcomes: each budget at the setting tuned for it, and all budgets at the one that was tuned once."""

    table: Table
    choices: Mapping[float, Choice]
    once: Table
    choice: Choice


def judged(bench: StartBench, family: Family, cell: Cell) -> Judged:
    method = cell.method()
    choices = bench.tune(family, method)
    choice = bench.tune_once(family, method, choices)
    return Judged(
        bench.judge(family, method, by_anchor(choices)),
        choices,
        bench.judge(family, method, lambda ratio: choice.setting),
        choice,
    )


def _configuration(described: Mapping[str, object], run: Run) -> Configuration:
    return {**described, "setting": run.setting.as_json(), "seed": run.seed, "steps": run.steps}
