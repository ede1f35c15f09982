"""A family's cells as one JSON file, written after each cell, so that a killed run leaves what it had.

Cells that the file has and that are not run now stay in it (`convergence.summary.kept`).
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.convergence.score import Losses, log_gain, steps_ratio
from benchmarks.convergence.summary import compact, head, kept, losses
from benchmarks.convergence.tasks import Family
from benchmarks.convergence.tuning import Choice
from benchmarks.starts.cells import REFERENCE, Cell
from benchmarks.starts.matrix import Judged, StartBench, judged


def summarise(bench: StartBench, family: Family, cells: Iterable[Cell], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{family.name}.json"
    reference = judged(bench, family, REFERENCE)
    found: dict[str, object] = {REFERENCE.name: numbers(reference, reference, 0)}
    found = kept(path, head(bench.plan.name, family), "cells", found, bench.say) | found
    for cell in dict.fromkeys(cells):
        if cell != REFERENCE:
            steps = 0 if cell.kind == "seed" else cell.behind(family).steps
            found[cell.name] = numbers(judged(bench, family, cell), reference, steps)
            bench.say(f"{family.name}: {cell.name}: {headline(found[cell.name])}")
        path.write_text(compact({**head(bench.plan.name, family), "cells": found}))
    return path


def numbers(cell: Judged, reference: Judged, before: int) -> dict[str, object]:
    """`before`: the steps of contributors or joint training that are in the start. `ratio_once` is strict: AdamW is
    tuned for each budget all the same; in `ratio_both_once` it has one setting, too."""
    table, against = losses(cell.table, "test"), losses(reference.table, "test")
    return {
        "ratio": _ratio(table, against),
        "ratio_once": _ratio(losses(cell.once, "test"), against),
        "ratio_both_once": _ratio(losses(cell.once, "test"), losses(reference.once, "test")),
        "steps_before": before,
        "gain": {str(b): [round(value, 4) for value in log_gain(table, against, b)] for b in table},
        "test": {str(budget): _curve(found) for budget, found in table.items()},
        "test_once": {str(budget): _curve(found) for budget, found in losses(cell.once, "test").items()},
        "chosen": {str(anchor): _setting(choice) for anchor, choice in cell.choices.items()},
        "chosen_once": _setting(cell.choice),
    }


def _ratio(table: Losses, against: Losses) -> dict[str, float]:
    return {name: round(value, 3) for name, value in asdict(steps_ratio(table, against)).items()}


def _setting(choice: Choice) -> dict[str, float]:
    return {**choice.setting.as_json(), "at_edge": choice.at_edge}


def headline(found: object) -> str:
    assert isinstance(found, dict)
    by_budget, once = (found[name] for name in ("ratio", "ratio_once"))
    return ", once ".join(
        f"{each['headline']:.2f} [{each['low']:.2f}, {each['high']:.2f}]" for each in (by_budget, once)
    )


def _curve(found: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in found]
