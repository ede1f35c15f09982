"""Tables and plots from the JSON of `summary` and `rules`: nothing is trained here."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.convergence.report import NO_HARM, table
from benchmarks.starts.cells import REFERENCE, STEPS, Cell, named

Numbers = Mapping[str, Any]
COLUMNS = (("start", True), ("start", False), ("joint", True), ("joint", False))


def write(folder: Path) -> Path:
    """`REPORT.md` and one plot a family, beside the JSON files in `folder`."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    pieces = ["# Starts\n", _preamble(found)]
    for numbers in (each for each in found if "cells" in each):
        pieces += [section(numbers), settings(numbers)]
        plot(numbers, folder / f"{numbers['family']}.png")
    pieces += [rules(numbers) for numbers in found if "loss" in numbers]
    path = folder / "REPORT.md"
    path.write_text("\n".join(pieces))
    return path


def _preamble(found: Sequence[Numbers]) -> str:
    machines = [numbers["machine"] for numbers in found if "machine" in numbers]
    on = ", ".join(f"{name} {value}" for name, value in machines[0].items()) if machines else ""
    return (
        "Made by `make bench-starts`; how to read it is in docs/starts.md. Headline steps ratio against AdamW from the "
        "seed or base: T by the smallest budget from which on each larger one reaches its test loss at T. The steps of "
        "contributors, or of joint training, are **not** in a ratio: they are beside it, in units of T. 95 % intervals "
        f"over held-out tasks and seeds in brackets, † where the lower bound is under {NO_HARM}.\n\n{on}\n"
    )


def section(numbers: Numbers) -> str:
    """A row for each number of contributors, rounds and kind of step; one table tuned by budget, one tuned once."""
    cells: Mapping[str, Numbers] = numbers["cells"]
    found = sorted(
        {(cell.contributors, cell.rounds, cell.step) for cell in map(named, cells) if cell.kind != "seed"},
        key=lambda each: (*each[:2], list(STEPS).index(each[2])),
    )
    seeds = [cell for cell in map(named, cells) if cell.kind == "seed" and cell != REFERENCE]
    lines = [
        f"\n## {numbers['family']}\n",
        f"{numbers['about']}. Plan {numbers['plan']}; T = {numbers['T']} steps of {numbers['batch_size']}; held out: "
        f"{', '.join(numbers['held_out'])}; tuned on: {', '.join(numbers['tuning'])}.\n",
    ]
    head = ["start, WarpAdam", "start, AdamW", "joint, WarpAdam", "joint, AdamW"]
    tuned = {"ratio_once": "One setting for all budgets, AdamW tuned for each", "ratio": "A setting for each budget"}
    for key, how in tuned.items():
        rows = [
            [
                f"{n} × {r}{step.replace('-', ', ')}",
                f"{n * r} T",
                *(_headline(cells.get(Cell(kind, n, r, warped, step).name), key) for kind, warped in COLUMNS),
            ]
            for n, r, step in found
        ]
        alone = "; ".join(f"{cell.name.partition(',')[0]} {_headline(cells[cell.name], key)}" for cell in seeds)
        lines += [f"{how}; from the seed or base itself: {alone or '–'}.\n"]
        lines += [table(["contributors × rounds", "steps before", *head], rows)]
    return "\n".join(lines)


def settings(numbers: Numbers) -> str:
    """What tuning chose, and the test loss against AdamW's at the same budget, both tuned for it."""
    cells: Mapping[str, Numbers] = numbers["cells"]
    rows = [
        [
            name,
            *(_gain(cells[name], budget) for budget in ("1", "0.5", "0.25", "0.125")),
            *(_setting(cells[name]["chosen"].get(budget)) for budget in ("1", "0.125")),
            _setting(cells[name]["chosen_once"]),
        ]
        for name in cells
        if _shown(named(name))
    ]
    head = ["", "loss at T", "at T/2", "at T/4", "at T/8", "lr, β2 at T", "at T/8", "for all budgets"]
    return table(head, rows)


def rules(numbers: Numbers) -> str:
    """The tuning loss of each rule's start at its best setting."""
    budgets = list(next(iter(numbers["loss"].values()))["warp"])
    rows = [
        [name, *(f"{scores[optimizer][budget]:.4g}" for optimizer in ("warp", "adamw") for budget in budgets)]
        for name, scores in numbers["loss"].items()
    ]
    head = ["rule × rounds", *(f"{name} at {budget} T" for name in ("WarpAdam", "AdamW") for budget in budgets)]
    title = f"\n## Rules, {numbers['family']}\n\nLoss of tuning tasks ({', '.join(numbers['tuning'])}), tuned.\n"
    return "\n".join([title, table(head, rows)])


def _headline(found: Numbers | None, key: str) -> str:
    if found is None:
        return "–"
    ratio = found[key]
    shown = f"{ratio['headline']:.2f}" if ratio["headline"] else "< 1"
    return f"{shown} [{ratio['low']:.2f}, {ratio['high']:.2f}]" + ("" if ratio["low"] >= NO_HARM else " †")


def _gain(found: Numbers, budget: str) -> str:
    gain = found["gain"].get(budget)
    return "–" if gain is None else f"{100 * (np.exp(-gain[0]) - 1):+.0f} %"


def _setting(chosen: Numbers | None) -> str:
    if chosen is None:
        return "–"
    edge = " (edge)" if chosen["at_edge"] else ""
    return f"{chosen['lr']:.3g}{edge}, {chosen['beta2']:g}"


def _shown(cell: Cell) -> bool:
    return cell.contributors == REFERENCE.contributors


def plot(numbers: Numbers, path: Path) -> None:
    """Test loss after training with each budget, from the seed and from 20 contributors' last round that was run."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.6), layout="constrained")
    rounds = max(named(name).rounds for name in numbers["cells"])
    for name, cell in numbers["cells"].items():
        if _shown(named(name)) and (named(name).kind == "seed" or named(name).rounds == rounds):
            curve = {
                float(budget): float(np.exp(np.log(np.array(test)).mean())) for budget, test in cell["test"].items()
            }
            budgets = sorted(curve)
            style = "-" if named(name).warped else "--"
            axes.plot([budget * numbers["T"] for budget in budgets], [curve[b] for b in budgets], style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="budget, steps", ylabel="test loss at its end", title=numbers["family"])
    axes.grid(alpha=0.3, which="both")
    figure.legend(fontsize=7, loc="outside right upper")
    figure.savefig(path, dpi=72)
    pyplot.close(figure)
