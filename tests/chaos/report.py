"""The summary of a run, for machines and for people."""

import json
from pathlib import Path
from statistics import median
from typing import Any

from tests.chaos.campaign import Result

Json = dict[str, Any]
_DOUBLE = ("twice", "more than once")


def summary(results: list[Result], extra: Json) -> Json:
    return {"campaigns": [_campaign(result) for result in results], **extra}


def _campaign(result: Result) -> Json:
    double = [line for line in result.problems if any(word in line for word in _DOUBLE)]
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
        "jobs": result.jobs,
        "attempts": result.attempts,
        "contributions_accepted": result.contributions,
        "lost": len(result.problems) - len(double),
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
            f"{each['rounds']} rounds, {sum(each['kills'].values())} kills, jobs {each['jobs']}, "
            f"{each['attempts']} attempts, {each['contributions_accepted']} contributions accepted, "
            f"lost {each['lost']}, double {each['double']}.",
            "",
            "| what died | times | seconds to recover, median | worst |",
            "|---|---|---|---|",
            *(
                f"| {kind} | {seen['hits']} | {seen['median']} | {seen['worst']} |"
                for kind, seen in each["seconds_to_recover"].items()
            ),
            "",
            *(f"- {line}" for line in each["problems"]),
            "",
        ]
    for name in ("soak", "burst"):
        if name in found:
            lines += [f"## {name}", "", *(f"- {key}: {value}" for key, value in found[name].items()), ""]
    return "\n".join(lines)
