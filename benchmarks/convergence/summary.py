"""A family's numbers as one JSON file: what was chosen, what came out, and the ratios.

Methods that a file already has and that are not run now stay in it, as long as it is of the same plan, tasks and P and
AdamW came out the same.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.convergence import grid
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import learn
from benchmarks.convergence.machine import machine
from benchmarks.convergence.matrix import TUNING_SEED, Bench
from benchmarks.convergence.methods import METHODS, Method
from benchmarks.convergence.score import Losses, log_gain, steps_ratio
from benchmarks.convergence.tasks import Family
from benchmarks.convergence.training import Outcome, Run
from benchmarks.convergence.tuning import Choice, multiplier

AT_ADAMWS_RATE = ("warp", "warp-nesterov")
"""Methods that are also judged at AdamW's own settings, and at one factor on its learning rate."""
FACTORS = (1.0, 2.0, 4.0, 8.0)
Table = Mapping[float, list[list[Outcome]]]


def summarise(bench: Bench, family: Family, folder: Path) -> Path:
    """Runs what is missing and writes `<family>.json`: after each method, so that a killed run leaves what it had."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{family.name}.json"
    adamw_choices = bench.tune(family, METHODS["adamw"])
    adamw = bench.judge(family, METHODS["adamw"], by_anchor(adamw_choices))
    found: dict[str, object] = {"adamw": _numbers(adamw, adamw, adamw_choices)}
    found = kept(path, _head(bench, family), "methods", found, bench.say) | found
    for name in ["adamw", *(name for name in bench.plan.methods if name != "adamw")]:
        method = METHODS[name]
        if not method.suits(family):
            continue
        choices = bench.tune(family, method)
        table = bench.judge(family, method, by_anchor(choices))
        found[name] = _numbers(table, adamw, choices)
        if name in AT_ADAMWS_RATE:
            found |= _at_adamws_rate(bench, family, method, adamw_choices, adamw)
        path.write_text(compact({**_head(bench, family), "methods": found}))
    return path


def kept(
    path: Path, head: Mapping[str, object], part: str, reference: Mapping[str, object], say: Callable[[str], None]
) -> dict[str, object]:
    """What the file at `path` already holds under `part`; nothing, and a word why, where it is of another comparison.

    `reference` is AdamW's entry now: entries are only comparable where AdamW is to them what it is to those made now.
    """
    if not path.exists():
        return {}
    there = json.loads(path.read_text())
    fixed = {name: value for name, value in head.items() if name != "machine"}
    entries: dict[str, object] = there.get(part, {})
    same = all(there.get(name) == value for name, value in json.loads(json.dumps(fixed)).items())
    if same and all(_alike(entries.get(name), value) for name, value in reference.items()):
        return entries
    say(f"{path.name}: what it held was measured on other tasks or against another AdamW, and is dropped")
    return {}


def _alike(there: object, now: object) -> bool:
    """Whether two entries have the same test losses, up to the rounding of a processor's sums."""
    if not isinstance(there, dict) or not isinstance(now, dict) or there["test"].keys() != now["test"].keys():
        return False
    return all(np.allclose(there["test"][budget], losses, rtol=0.05) for budget, losses in now["test"].items())


def compact(numbers: Mapping[str, object]) -> str:
    """Indented, with a list of plain values on one line."""
    text = json.dumps(numbers, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def by_anchor(choices: Mapping[float, Choice]) -> Callable[[float], Setting]:
    """The setting of a budget: that of the nearest one that was tuned."""
    return lambda ratio: choices[grid.nearest_anchor(ratio, list(choices))].setting


def _at_adamws_rate(
    bench: Bench, family: Family, method: Method, choices: Mapping[float, Choice], adamw: Table
) -> dict[str, object]:
    """What a drop-in user gets: AdamW's settings untouched; and with one factor on its rate, found on tuning tasks."""
    factor = multiplier(_factor_scores(bench, family, method, choices))
    untouched = bench.judge(family, method, by_anchor(choices))
    scaled = {
        anchor: replace(choice, setting=replace(choice.setting, lr=choice.setting.lr * factor))
        for anchor, choice in choices.items()
    }
    multiplied = bench.judge(family, method, by_anchor(scaled))
    return {
        f"{method.name}@adamw-lr": _numbers(untouched, adamw, choices),
        f"{method.name}@multiplier": {**_numbers(multiplied, adamw, scaled), "multiplier": factor},
    }


def _factor_scores(
    bench: Bench, family: Family, method: Method, choices: Mapping[float, Choice]
) -> dict[float, list[float]]:
    count = bench.plan.tuning_seeds or family.tuning_seeds
    scores: dict[float, list[float]] = {}
    for factor in FACTORS:
        runs = [
            Run(
                replace(choice.setting, lr=choice.setting.lr * factor),
                TUNING_SEED + seed,
                grid.budget(family.T, anchor),
            )
            for anchor, choice in choices.items()
            for seed in range(count)
        ]
        for task in family.tuning:
            outcomes = bench.run(family, method, task, runs)
            scores.setdefault(factor, []).extend(outcomes[run]["tune"] for run in runs)
    return scores


def _numbers(table: Table, adamw: Table, choices: Mapping[float, Choice]) -> dict[str, object]:
    ratio = steps_ratio(losses(table, "test"), losses(adamw, "test"))
    on_training = steps_ratio(losses(table, "train"), losses(adamw, "train"))
    return {
        "ratio": _rounded(asdict(ratio)),
        "ratio_at_2T": _at_twice(table, adamw),
        "training_ratio": _rounded(asdict(on_training)),
        "gain": {str(r): _gain(table, adamw, r) for r in table},
        "test": {str(r): _rounded_list(t) for r, t in losses(table, "test").items()},
        "chosen": {
            str(anchor): {**choice.setting.as_json(), "at_edge": choice.at_edge} for anchor, choice in choices.items()
        },
    }


def _at_twice(table: Table, adamw: Table) -> dict[str, float] | None:
    """The same with 2 T as the reference, where it was run."""
    if 2 not in table:
        return None
    return _rounded(asdict(steps_ratio(losses(table, "test"), losses(adamw, "test"), 2)))


def _gain(table: Table, adamw: Table, ratio: float) -> list[float]:
    return [round(value, 4) for value in log_gain(losses(table, "test"), losses(adamw, "test"), ratio)]


def losses(table: Table, part: str) -> Losses:
    """ratio -> (tasks, seeds)."""
    return {
        ratio: np.array([[outcome[part] for outcome in seeds] for seeds in tasks]) for ratio, tasks in table.items()
    }


def head(plan: str, family: Family) -> dict[str, object]:
    """What was run, on what and where."""
    return {
        "family": family.name,
        "about": family.about,
        "plan": plan,
        "T": family.T,
        "batch_size": family.batch_size,
        "tuning": [task.name for task in family.tuning],
        "held_out": [task.name for task in family.held_out],
        "machine": machine(),
    }


def _head(bench: Bench, family: Family) -> dict[str, object]:
    learned = learn(family.name)
    return {
        **head(bench.plan.name, family),
        "contributors": [task.name for task in family.contributors],
        "warp_version": learned.version,
        "statistics_digest": learned.statistics.digest(),
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _rounded_list(table: object) -> list[list[float]]:
    assert isinstance(table, np.ndarray)
    return [[float(f"{value:.4g}") for value in row] for row in table]
