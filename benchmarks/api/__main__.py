"""`python -m benchmarks.api`: measures on each database, prints, and writes `api.json` and `api.md`.

The client is this process, each server one of its own. `--quick` measures the same with less of everything.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.api import downloads, filling, house, queries, reads, report, submits, wire
from benchmarks.api.filling import MINE, OTHERS, Plan
from benchmarks.api.numbers import Measured

KINDS = ("sqlite", "postgresql")
SPEC = {"family": "bench", "task": "regression", "model": {"arch": "mlp", "hidden": [8]}}


@dataclass(frozen=True)
class Effort:
    plan: Plan
    turns: int
    seconds: float
    """Of one stretch of one side."""
    burst: int
    times: int
    """Each question is asked."""
    quick: bool


def main() -> None:
    options = _options()
    sections, databases = {}, {}
    began, clock = report.machine(), time.perf_counter()
    effort = _effort(options)
    for kind in options.database or KINDS:
        sections[kind], databases[kind] = measure(kind, effort)
    told: dict[str, Any] = {
        "machine": began,
        "machine_at_the_end": report.machine(),
        "seconds": round(time.perf_counter() - clock),
        "databases": databases,
    }
    text = report.markdown(told, sections)
    told["measured"] = {
        kind: {name: report.as_json(found) for name, found in parts.items()} for kind, parts in sections.items()
    }
    report.write(options.out, json.dumps(told, indent=2, ensure_ascii=False), text)
    print(text)  # noqa: T201


def measure(kind: str, effort: Effort) -> tuple[dict[str, Sequence[Measured]], str]:
    """(section → what was found, what the database held)."""
    with ExitStack() as stack:
        folder = stack.enter_context(house.folder())
        url = stack.enter_context(house.database(kind, folder))
        place = stack.enter_context(house.house(kind, url, folder, (MINE, OTHERS)))
        spec, template = _first_job(place)
        _say(f"{kind}: filling the database")
        held = filling.fill(place.database, template, effort.plan)
        found: dict[str, Sequence[Measured]] = {}
        works: tuple[tuple[str, Callable[[], Sequence[Measured]]], ...] = (
            ("Reads of a job", lambda: reads.measure(place, effort.turns, effort.seconds)),
            ("A large database", lambda: queries.measure(place, effort.plan, effort.times)),
            ("Submissions and listeners", lambda: submits.measure(place, spec, effort.burst)),
            ("Files", lambda: downloads.measure(place, effort.turns, quick=effort.quick)),
        )
        for name, work in works:
            _say(f"{kind}: {name}")
            found[name] = work()
    counts = ", ".join(f"{count} {name}" for name, count in held.items() if name != "seconds")
    return found, f"The database held {counts}; it was filled in {held['seconds']:.0f} s."


def _first_job(place: house.House) -> tuple[dict[str, Any], str]:
    """(description, id) of a job on a real dataset: what the others are copies of."""
    spec: dict[str, Any] = {**SPEC, "dataset": {"builtin": "digits"}, "task": "classification"}
    sent = wire.request("POST", "/v1/jobs", key=place.keys[MINE], body=json.dumps(spec).encode())
    answer = wire.ask(place.api.address, sent)
    if answer.status != 201:
        raise RuntimeError(f"the first job was answered {answer.status}: {answer.body[:500]!r}")
    job = json.loads(answer.body)
    known = job["spec"]["dataset"].get("id")
    return {**spec, "dataset": {"id": known}} if known else spec, job["id"]


def _effort(options: argparse.Namespace) -> Effort:
    """What was asked for, and what is usual for the rest."""
    jobs, points = (5_000, 500_000) if options.quick else (100_000, 10_000_000)
    plan = Plan(options.jobs or jobs, options.points or points, options.seed)
    if options.quick:
        return Effort(plan, turns=3, seconds=0.5, burst=200, times=40, quick=True)
    return Effort(plan, turns=7, seconds=1.5, burst=submits.BURST, times=200, quick=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/api/results"))
    parser.add_argument("--quick", action="store_true", help="a small database and short stretches, in two minutes")
    parser.add_argument("--database", action="append", choices=KINDS, help="this one only; several times")
    parser.add_argument("--jobs", type=int, help="in the database (100000)")
    parser.add_argument("--points", type=int, help="of metrics in the database (10000000)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
