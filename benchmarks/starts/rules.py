"""Which rule makes the best start: compared on tuning tasks alone, so that held-out tasks have no say in it."""

import json
from pathlib import Path

from benchmarks.convergence.tasks import Family
from benchmarks.starts.cells import Cell
from benchmarks.starts.making import STARTS
from benchmarks.starts.matrix import StartBench

CONTRIBUTORS = 20
SECOND_ROUND = ("precise", "plain", "running", "momentum")
"""The rules for which a second round is another matter than the first."""


def every_start() -> list[tuple[str, int]]:
    """(kind, rounds)."""
    return [("seed", 1), *((rule, 1) for rule in STARTS), *((rule, 2) for rule in SECOND_ROUND), ("joint", 1)]


def study(bench: StartBench, family: Family, folder: Path) -> Path:
    """Writes `rules-<family>.json` after each rule: the tuning loss at the best setting, by optimizer and budget."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rules-{family.name}.json"
    found: dict[str, dict[str, dict[str, float]]] = {}
    for kind, rounds in every_start():
        scores: dict[str, dict[str, float]] = {}
        for optimizer in ("adamw", "warp"):
            choices = bench.tune(family, Cell(kind, CONTRIBUTORS, rounds, optimizer == "warp").method())
            scores[optimizer] = {str(anchor): round(choice.score, 5) for anchor, choice in choices.items()}
        found[f"{kind} x {rounds}"] = scores
        bench.say(f"{family.name}: {kind} x {rounds}: {scores['warp']}")
        numbers = {"family": family.name, "plan": bench.plan.name, "tuning": [task.name for task in family.tuning]}
        path.write_text(json.dumps({**numbers, "loss": found}, indent=1) + "\n")
    return path
