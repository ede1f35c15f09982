"""A family's cells as one JSON file, written after each cell, so that a killed run leaves what it had."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.convergence.machine import machine
from benchmarks.convergence.score import log_gain, steps_ratio
from benchmarks.convergence.summary import losses
from benchmarks.convergence.tasks import Family
from benchmarks.convergence.training import Outcome
from benchmarks.convergence.tuning import Choice
from benchmarks.starts.cells import REFERENCE, Cell
from benchmarks.starts.matrix import StartBench, judged

Table = Mapping[float, list[list[Outcome]]]


def summarise(bench: StartBench, family: Family, cells: Iterable[Cell], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{family.name}.json"
    reference, choices = judged(bench, family, REFERENCE)
    found: dict[str, object] = {REFERENCE.name: numbers(reference, reference, choices, 0)}
    for cell in dict.fromkeys(cells):
        if cell != REFERENCE:
            steps = 0 if cell.kind == "seed" else cell.behind(family).steps
            found[cell.name] = numbers(*judged_against(bench, family, cell, reference), steps)
            bench.say(f"{family.name}: {cell.name}: {headline(found[cell.name])}")
        path.write_text(_text({**_head(bench, family), "cells": found}))
    return path


def judged_against(
    bench: StartBench, family: Family, cell: Cell, reference: Table
) -> tuple[Table, Table, Mapping[float, Choice]]:
    table, choices = judged(bench, family, cell)
    return table, reference, choices


def numbers(table: Table, reference: Table, choices: Mapping[float, Choice], before: int) -> dict[str, object]:
    """`before`: the steps of contributors or joint training that are in the start."""
    ratio = steps_ratio(losses(table, "test"), losses(reference, "test"))
    return {
        "ratio": {name: round(value, 3) for name, value in asdict(ratio).items()},
        "steps_before": before,
        "gain": {
            str(budget): [
                round(value, 4) for value in log_gain(losses(table, "test"), losses(reference, "test"), budget)
            ]
            for budget in table
        },
        "test": {str(budget): _curve(found) for budget, found in losses(table, "test").items()},
        "chosen": {str(a): {**choice.setting.as_json(), "at_edge": choice.at_edge} for a, choice in choices.items()},
    }


def headline(found: object) -> str:
    assert isinstance(found, dict)
    ratio = found["ratio"]
    return f"{ratio['headline']:.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}]"


def _curve(found: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> list[list[float]]:
    return [[float(f"{value:.4g}") for value in row] for row in found]


def _text(numbers: Mapping[str, object]) -> str:
    """Indented, with a list of plain values on one line."""
    text = json.dumps(numbers, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def _head(bench: StartBench, family: Family) -> dict[str, object]:
    return {
        "family": family.name,
        "about": family.about,
        "plan": bench.plan.name,
        "T": family.T,
        "batch_size": family.batch_size,
        "tuning": [task.name for task in family.tuning],
        "held_out": [task.name for task in family.held_out],
        "machine": machine(),
    }
