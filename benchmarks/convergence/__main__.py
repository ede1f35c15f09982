"""`python -m benchmarks.convergence [--quick] [--families …] [--methods …]`: trains what is missing, then reports."""

import argparse
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.convergence import report, wallclock
from benchmarks.convergence.families import FAMILIES, family
from benchmarks.convergence.matrix import Bench
from benchmarks.convergence.methods import METHODS
from benchmarks.convergence.plan import PLANS
from benchmarks.convergence.store import Store
from benchmarks.convergence.summary import summarise

HERE = Path(__file__).parent


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", category=UserWarning)  # packages' notices about their own options
    plan = PLANS["quick" if options.quick else options.plan]
    plan = replace(plan, methods=options.methods or plan.methods)
    store = Store(options.store)
    names = options.families or list(FAMILIES)
    if options.wallclock:
        measured = wallclock.write([family(name) for name in names], options.results / plan.name / "wallclock.json")
        _say(f"wall-clock: {measured}")
        names = []
    for name in names:
        started = time.monotonic()
        path = summarise(Bench(store, plan, _say), family(name), options.results / plan.name)
        _say(f"{name}: {path}, {time.monotonic() - started:.0f} s")
    if options.report:
        _say(f"report: {report.write(options.results / plan.name)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.convergence", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes: fewer budgets, seeds, methods and grid points")
    parser.add_argument("--plan", choices=list(PLANS), default="full")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES))
    parser.add_argument("--methods", nargs="+", choices=list(METHODS))
    parser.add_argument("--store", type=Path, default=HERE / "store" / "runs.jsonl", help="one line a trained run")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="where summaries, tables and plots go")
    parser.add_argument("--wallclock", action="store_true", help="only measure what a step costs, minutes")
    parser.add_argument("--no-report", dest="report", action="store_false", help="only train and summarise")
    return parser


if __name__ == "__main__":
    main()
