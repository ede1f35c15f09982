"""The summary of a run, for machines and for people."""

import json
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from service import clock
from tests.chaos.campaign import Result
from tests.chaos.plan import Round

Json = dict[str, Any]


def summary(results: list[Result], extra: Json) -> Json:
    return {"campaigns": [_campaign(result) for result in results], **extra}


def _campaign(result: Result) -> Json:
    double = [line for line in result.problems if "twice" in line or "more than once" in line]
    recover = {
        kind: {"hits": result.hits[kind], "median": round(median(seen), 1), "worst": round(max(seen), 1)}
        for kind, seen in sorted(result.seconds.items())
        if seen
    }
    return {
        "database": result.database,
        "seed": result.seed,
        "rounds": result.rounds,
        "kills": dict(sorted(result.hits.items())),
        "missed": dict(sorted(result.missed.items())),
        "jobs_accepted": result.submitted,
        "jobs_lost": result.lost,
        "jobs": result.jobs,
        "attempts": result.attempts,
        "contributions_accepted": result.contributions,
        "double": len(double),
        "seconds_to_recover": recover,
        "problems": result.problems,
    }


def write(folder: Path, results: list[Result], extra: Json) -> Json:
    folder.mkdir(parents=True, exist_ok=True)
    found = summary(results, extra)
    (folder / "chaos.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / "chaos.md").write_text(_markdown(found))
    return found


def _markdown(found: Json) -> str:
    lines = ["# Chaos", ""]
    for each in found["campaigns"]:
        lines += [
            f"## {each['database']}, seed {each['seed']}",
            "",
            f"{each['rounds']} rounds, {sum(each['kills'].values())} blows; "
            f"{each['jobs_accepted']} jobs accepted, of which {each['jobs_lost']} were lost "
            f"({_counts(each['jobs'])}), in {each['attempts']} attempts; "
            f"{each['contributions_accepted']} contributions accepted; counted or run twice: {each['double']}; "
            f"whatever else was wrong: {len(each['problems']) - each['double']}.",
            "",
            "| blow | times | seconds to recover, median | worst |",
            "|---|---|---|---|",
            *(
                f"| {kind} | {seen['hits']} | {seen['median']} | {seen['worst']} |"
                for kind, seen in each["seconds_to_recover"].items()
            ),
            "",
            *(f"- {line}" for line in each["problems"]),
            "",
        ]
    for name, numbers in found.items():
        if name != "campaigns":
            lines += [f"## {name}", "", *(f"- {key}: {value}" for key, value in numbers.items()), ""]
    return "\n".join(lines)


def _counts(jobs: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(jobs.items()))


def note(folder: Path, database: str, round_: Round, seconds: float, problems: list[str]) -> None:
    """Adds a line about one round to `rounds.jsonl`, which grows from run to run."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {
        "at": clock.now().isoformat(),
        "database": database,
        "round": round_.number,
        "blows": [asdict(blow) for blow in round_.blows],
        "word": round_.word,
        "seconds": round(seconds, 1),
        "problems": problems,
    }
    with (folder / "rounds.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")
