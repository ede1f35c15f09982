"""Lists, filters, pages, metrics, events and logs of a large database: each asked many times, one after the other."""

import json
from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy import select

from benchmarks.api import wire
from benchmarks.api.filling import MINE, Plan, long_ids
from benchmarks.api.house import House
from benchmarks.api.numbers import Measured, at_most, percentile
from service.db.models import Job

GOAL_MS = 50.0


@dataclass(frozen=True)
class Question:
    """What is asked, under several paths in turn; `goal` False: it is more than a page shows."""

    name: str
    paths: list[str]
    goal: bool = True


def measure(place: House, plan: Plan, times: int) -> list[Measured]:
    return [_asked(place, question, times) for question in _questions(place, plan)]


def _asked(place: House, question: Question, times: int) -> Measured:
    sent = [wire.request("GET", path, key=place.keys[MINE]) for path in question.paths]
    wire.load(place.api.address, lambda n: sent[n % len(sent)], connections=1, most=5)
    began = place.api.cpu_seconds()
    outcome = wire.load(place.api.address, lambda n: sent[n % len(sent)], connections=1, most=times)
    cpu = (place.api.cpu_seconds() - began) / times * 1e3
    if set(outcome.statuses) != {200}:
        raise RuntimeError(f"{question.name} was answered {dict(outcome.statuses)}: {outcome.body[:300]!r}")
    p50, p99 = (percentile(outcome.latencies, q) * 1e3 for q in (50, 99))
    name, note = f"{question.name}: p99", f"p50 {p50:.1f} ms; {cpu:.1f} ms of the API's processor"
    return at_most(name, p99, "ms", GOAL_MS, note) if question.goal else Measured(name, p99, "ms", note=note)


def _questions(place: House, plan: Plan) -> list[Question]:
    with place.database.read() as session:
        ids = list(session.scalars(select(Job.id).where(Job.project == MINE).order_by(Job.id.desc()).limit(50)))
    long = long_ids(plan)
    series = [f"/v1/jobs/{id_}/metrics" for id_ in long]
    owners = [f"/v1/jobs?metadata[owner]=owner-{number}" for number in range(20)]
    of_family = [f"/v1/jobs?family=family-{number:02}" for number in range(10)]
    return [
        Question("newest 20 jobs", ["/v1/jobs"]),
        Question("newest 100 jobs", ["/v1/jobs?limit=100"]),
        Question(
            "pages by cursor", [f"/v1/jobs?after={quote(each)}" for each in _cursors(place, "/v1/jobs?limit=100")]
        ),
        Question("jobs by state", [f"/v1/jobs?state={each}" for each in ("failed", "queued", "running")]),
        Question("jobs by several states", ["/v1/jobs?state=failed&state=cancelled&state=paused"]),
        Question("jobs by a state that none has", ["/v1/jobs?state=pausing"]),
        Question("100 queued jobs, each with its place", ["/v1/jobs?state=queued&limit=100"]),
        Question("jobs by family", of_family),
        Question("jobs by family and state", [f"{each}&state=failed&state=queued" for each in of_family]),
        Question("jobs by metadata", owners),
        Question("jobs by metadata that few have", ["/v1/jobs?metadata[rare]=yes"]),
        Question("jobs by metadata that few and that all have", ["/v1/jobs?metadata[kind]=sweep&metadata[rare]=yes"]),
        Question("jobs by metadata and state", [f"{each}&state=failed" for each in owners]),
        Question("jobs by metadata that none has", ["/v1/jobs?metadata[kind]=none"]),
        Question("metrics of a usual job", [f"/v1/jobs/{id_}/metrics" for id_ in ids]),
        Question(f"4 metrics of {plan.long_steps} points each, thinned to 1000", series),
        Question("1 metric of these, thinned to 1000", [f"{path}?name=val_loss" for path in series]),
        Question("1 metric of these, 10 000 points", [f"{p}?name=lr&max_points=10000" for p in series], goal=False),
        Question("events of a usual job", [f"/v1/jobs/{id_}/events" for id_ in ids]),
        Question("100 of 3000 events", [f"/v1/jobs/{id_}/events?limit=100" for id_ in long]),
        Question("pages of events", _pages(place, f"/v1/jobs/{long[0]}/events?limit=100")),
        Question("100 lines of a log", [f"/v1/jobs/{long[0]}/logs?limit=100"]),
        Question("pages of a log", _pages(place, f"/v1/jobs/{long[0]}/logs?limit=100")),
        Question("families", ["/v1/families"]),
        Question("the cluster and its queue", ["/v1/cluster"]),
    ]


def _pages(place: House, path: str) -> list[str]:
    return [f"{path}&after={quote(each)}" for each in _cursors(place, path)]


def _cursors(place: House, path: str, most: int = 20) -> list[str]:
    """Of the first pages of a list."""
    found: list[str] = []
    while len(found) < most:
        after = f"&after={quote(found[-1])}" if found else ""
        answer = wire.ask(place.api.address, wire.request("GET", path + after, key=place.keys[MINE]))
        cursor = json.loads(answer.body)["next_cursor"]
        if cursor is None:
            break
        found.append(cursor)
    return found
