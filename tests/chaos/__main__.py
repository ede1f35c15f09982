"""`make chaos`: rounds of real kills on both databases, a soak and a burst; a summary, and 1 where anything was lost.

python -m tests.chaos --rounds 60 --seed 7 --database both --output chaos
"""

import argparse
import random
import signal
import sys
import time
from pathlib import Path

from tests.chaos import endurance, load, plan, report
from tests.chaos.campaign import Campaign, Result
from tests.chaos.house import House


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Kills parts of a service, and checks.")
    parser.add_argument("--rounds", type=int, default=60, help="of each database")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="the same seed makes the same plan")
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument("--kinds", nargs="*", default=[], help="only these kinds of blows")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="at most so long for each database")
    parser.add_argument("--jobs", type=int, default=3, help="in each round")
    parser.add_argument("--groups-every", type=int, default=4, help="rounds that have a job with two workers; 0: few")
    parser.add_argument("--soak", type=int, default=0, help="jobs through one service on each database; 0: none")
    parser.add_argument("--burst", type=int, default=0, help="submits at once; 0: none")
    parser.add_argument("--output", type=Path, default=Path("chaos"))
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the house is taken down on the way
    say(f"seed {options.seed}")
    results: list[Result] = []
    extra: dict[str, object] = {}
    for database in ["sqlite", "postgresql"] if options.database == "both" else [options.database]:
        results.append(Result(database, options.seed))
        run(options, results, extra)
    found = report.write(options.output, results, extra)
    say((options.output / "chaos.md").read_text())
    return 1 if any(each["problems"] for each in found["campaigns"]) else 0


def run(options: argparse.Namespace, results: list[Result], extra: dict[str, object]) -> None:
    """Fills in the last of the results, and writes them down after each round: a long run may be cut short."""
    result = results[-1]
    database = result.database
    kinds = options.kinds or (plan.ON_ANY if database == "sqlite" else plan.ON_POSTGRES)
    rounds = plan.make(options.seed, options.rounds, kinds, jobs=options.jobs)
    house = House(database).open()
    try:
        campaign = Campaign(house, result, group_every=options.groups_every)
        campaign.prepare(range(load.SHAPES), groups=bool(rounds))
        give_up = time.monotonic() + 60 * options.minutes
        for each in rounds:
            began, before = time.monotonic(), len(result.problems)
            if began > give_up:
                break
            campaign.run([each])
            seconds, problems = time.monotonic() - began, result.problems[before:]
            say(f"{database} round {each.number}: {', '.join(blow.kind for blow in each.blows)} ({seconds:.0f} s)")
            for line in problems:
                say(f"  {line}")
            report.note(options.output, database, each, seconds, problems)
            report.write(options.output, results, extra)
        if options.soak:
            extra[f"soak on {database}"] = endurance.soak(campaign, options.soak)
            campaign.count()
            report.write(options.output, results, extra)
        if options.burst:
            extra[f"burst on {database}"] = endurance.burst(house, options.burst)
    finally:
        result.problems += [f"left at the end: {line}" for line in house.close()]
    if not result.problems:
        house.remove()
    else:
        say(f"the house is kept in {house.folder}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
