"""`python -m benchmarks.starts [--quick] [--families …] [--cells …] [--rules]`: trains what is missing, and reports."""

import argparse
import sys
import time
from itertools import product
from pathlib import Path

import torch

from benchmarks.convergence.store import Store
from benchmarks.starts import report, rules
from benchmarks.starts.cells import CONTRIBUTORS, ROUNDS, Cell, named
from benchmarks.starts.families import FAMILIES, family
from benchmarks.starts.matrix import PLANS, StartBench
from benchmarks.starts.summary import summarise

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    plan = PLANS["quick" if options.quick else options.plan]
    bench = StartBench(Store(options.store), plan, _say)
    folder = options.results / plan.name
    for name in options.families or list(FAMILIES):
        if options.rules:
            _say(f"{name}: {rules.study(bench, family(name), folder)}")
        else:
            cells = [named(text) for text in options.cells] if options.cells else every_cell(quick=options.quick)
            _say(f"{name}: {summarise(bench, family(name), cells, folder)}")
    _say(f"report: {report.write(folder)}")


def every_cell(*, quick: bool = False) -> list[Cell]:
    """Those that matter most first."""
    pairs = [(20, 1), (20, 2)] if quick else sorted(product(CONTRIBUTORS, ROUNDS), key=lambda pair: (-pair[0], pair[1]))
    cells = [Cell("seed", 20, 1, warped=True)]
    for contributors, rounds in pairs:
        cells += [Cell(kind, contributors, rounds, warped) for kind in ("start", "joint") for warped in (True, False)]
    return cells


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.starts", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes: 20 contributors, two rounds, few budgets")
    parser.add_argument("--plan", choices=list(PLANS), default="full")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES))
    parser.add_argument("--cells", nargs="+", help='such as "warp, start 20 x 5"; all where none is named')
    parser.add_argument("--rules", action="store_true", help="compare rules that make a start, on tuning tasks")
    parser.add_argument("--store", type=Path, default=HERE / "store" / "runs.jsonl", help="one line a trained run")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where numbers, tables and plots go")
    return parser


if __name__ == "__main__":
    main()
