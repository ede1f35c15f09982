"""Runs the comparison of learning rules: `python -m benchmarks.rules [--seeds N] [-o FILE]`; minutes on two cores."""

import argparse
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.rules.runs import Matrices, Watched, contribute, train
from benchmarks.rules.tasks import Family, Problem, base_problem, inpainting, text
from warpadam.learn import covariance, hypergradient, own_data
from warpadam.learn.hypergradient import Options
from warpadam.learn.rule import Weighting
from warpadam.learn.statistics import Contribution, Statistics
from warpadam.shapes import axis_keys, sizes_by_key

Method = Mapping[str, Matrices | None]
"""Held-out task -> P."""

OPTIONS = [(objective, start) for objective in ("tuned", "greedy") for start in ("covariance", "identity")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--family", action="append", choices=["inpainting", "text"])
    parser.add_argument("-o", type=Path, default=Path("rules.json"))
    options = parser.parse_args()
    results = []
    with ProcessPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for name in options.family or ["inpainting", "text"]:
            family = inpainting() if name == "inpainting" else text(_base())
            results.append(compare(pool, family, seeds=options.seeds))
            print(table(results[-1]), flush=True)  # noqa: T201
    options.o.write_text(json.dumps(results, indent=1))


def compare(pool: ProcessPoolExecutor, family: Family, *, seeds: int) -> dict[str, object]:
    """Mean log loss over held-out tasks and seeds of each method at each learning rate, and at its best one."""
    found = methods(pool, family)
    cells = list(product(found, family.lrs, family.held_out, range(seeds)))
    runs = [
        pool.submit(_loss, problem, family.steps, lr, 100 + seed, found[method][problem.name])
        for method, lr, problem, seed in cells
    ]
    losses: dict[tuple[str, float], list[float]] = {}
    for (method, lr, _, _), run in zip(cells, runs, strict=True):
        losses.setdefault((method, lr), []).append(math.log(run.result()))
    rows = []
    for method in found:
        best = min(family.lrs, key=lambda lr: float(np.mean(losses[method, lr])))
        rows.append({"method": method, "lr": best, "log_losses": losses[method, best]})
    return {"family": family.name, "steps": family.steps, "seeds": seeds, "rows": rows}


def methods(pool: ProcessPoolExecutor, family: Family) -> dict[str, Method]:
    """Every P that is compared. All but the basis of a task's own data are the same for each task."""
    plain = collect(pool, family, None, family.learning_lr)
    under_P = covariance.solve(plain["uniform"]).matrices
    again = collect(pool, family, under_P, 2 * family.learning_lr)
    first = Statistics({job: total for job, total in plain["uniform"].jobs.items() if job == "job_0"})
    shared: dict[str, Matrices | None] = {"AdamW": None}
    for weighting, statistics in plain.items():
        shared[f"covariance, {weighting}"] = covariance.solve(statistics).matrices
    shared["covariance, uniform, collected under P"] = covariance.solve(again["uniform"]).matrices
    for objective, start in OPTIONS:
        solved = hypergradient.solve(plain["uniform"], Options(objective, start))
        shared[f"hypergradient, {objective}, from {start}"] = solved.matrices
    solved = hypergradient.solve(again["uniform"], Options())
    shared["hypergradient, tuned, from covariance, collected under P"] = solved.matrices
    shared["covariance, 1 job"] = covariance.solve(first).matrices
    found: dict[str, Method] = {name: {problem.name: P for problem in family.held_out} for name, P in shared.items()}
    if family.held_out[0].task != "language_modeling":
        found |= _with_own_data(family, first, plain["uniform"])
    return found


def _with_own_data(family: Family, first: Statistics, all_jobs: Statistics) -> dict[str, Method]:
    moments = {problem.name: _moments(problem) for problem in (*family.held_out, family.training[0])}
    contributed = moments[family.training[0].name]
    found: dict[str, Method] = {
        "own data": {problem.name: _basis(moments[problem.name]) for problem in family.held_out}
    }
    for steps, (name, statistics) in product((30, 300), (("1 job", first), ("6 jobs", all_jobs))):
        solved = covariance.solve(statistics, prior=contributed, prior_steps=steps).matrices
        found[f"covariance, {name}, prior {steps} of a contributor's data"] = dict.fromkeys(
            [problem.name for problem in family.held_out], solved
        )
        found[f"covariance, {name}, prior {steps} of its own data"] = {
            problem.name: covariance.solve(statistics, prior=moments[problem.name], prior_steps=steps).matrices
            for problem in family.held_out
        }
    return found


def collect(pool: ProcessPoolExecutor, family: Family, P: Matrices | None, lr: float) -> dict[Weighting, Statistics]:
    """The statistics of the family's training tasks by weighting, from runs under this P."""
    runs = [
        pool.submit(_observe, problem, family.steps, lr, index, P, f"job_{index}")
        for index, problem in enumerate(family.training)
    ]
    found: dict[Weighting, Statistics] = {}
    for run in runs:
        for weighting, contribution in run.result().items():
            found[weighting] = found.get(weighting, Statistics()).add(contribution)
    return found


def table(result: dict[str, object]) -> str:
    """Loss against AdamW's (geometric mean), its 95 % interval over tasks and seeds, paired; and the best rate."""
    rows = result["rows"]
    assert isinstance(rows, list)
    lines = [
        f"### {result['family']}, {result['steps']} steps",
        "",
        "| method | loss | / AdamW | lr |",
        "|---|---|---|---|",
    ]
    base = np.array(rows[0]["log_losses"])
    for row in rows:
        values = np.array(row["log_losses"])
        difference = values - base
        error = 1.96 * difference.std(ddof=1) / math.sqrt(len(difference)) if len(difference) > 1 else math.nan
        ratio = f"{math.exp(difference.mean()):.3f} ± {error:.3f}"
        lines.append(f"| {row['method']} | {math.exp(values.mean()):.4g} | {ratio} | {row['lr']:g} |")
    return "\n".join([*lines, ""])


def _loss(problem: Problem, steps: int, lr: float, seed: int, P: Matrices | None) -> float:
    return train(problem, steps=steps, lr=lr, seed=seed, P=P).loss


def _observe(
    problem: Problem, steps: int, lr: float, seed: int, P: Matrices | None, job: str
) -> dict[Weighting, Contribution]:
    watched = Watched()
    train(problem, steps=steps, lr=lr, seed=seed, P=P, watched=watched)
    return contribute(watched, job, steps)


def _moments(problem: Problem) -> dict[str, covariance.Matrix64]:
    keys = sizes_by_key(axis_keys(problem.model, problem.anchor))
    return own_data.moments(problem.split.x_train, problem.split.y_train, problem.task, keys)


def _basis(moments: Mapping[str, covariance.Matrix64]) -> Matrices:
    return {key: covariance.basis(moment)[0] for key, moment in moments.items()}


def _base() -> dict[str, Tensor]:
    return train(base_problem(), steps=100, lr=0.004, seed=0, P=None).weights


if __name__ == "__main__":
    main()
