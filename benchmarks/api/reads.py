"""Reads of a job against the same bytes from a route that does nothing, in turns."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select

from benchmarks.api import house, wire
from benchmarks.api.filling import MINE
from benchmarks.api.house import House, Served
from benchmarks.api.numbers import Measured, at_least, median, percentile
from service.db.models import Job

CONNECTIONS = 16
DIFFERENT = 1000
"""Jobs that are read in turn, so that nobody can answer from the last one."""


@dataclass(frozen=True)
class Turn:
    """One stretch of each, right after the other."""

    bare: wire.Outcome
    ours: wire.Outcome
    bare_cpu: float
    our_cpu: float


def measure(place: House, turns: int, seconds: float) -> list[Measured]:
    with place.database.read() as session:
        newest = select(Job.id).where(Job.project == MINE, Job.state == "succeeded").order_by(Job.id.desc())
        ids = list(session.scalars(newest.limit(DIFFERENT)))
    sent = [wire.request("GET", f"/v1/jobs/{id_}", key=place.keys[MINE]) for id_ in ids]

    def make(number: int) -> bytes:
        return sent[number % len(sent)]

    body = wire.ask(place.api.address, sent[0]).body
    with house.bare(body, place.folder) as bare:
        many = [_turn(bare, place.api, make, CONNECTIONS, seconds) for _ in range(turns)]
        one = [_turn(bare, place.api, make, 1, seconds) for _ in range(max(1, turns // 2))]
    return [*_told(many, CONNECTIONS, 0.5), *_told(one, 1, None)]


def _turn(bare: Served, ours: Served, make: Callable[[int], bytes], connections: int, seconds: float) -> Turn:
    found = []
    for server in (bare, ours):
        wire.load(server.address, make, connections=connections, seconds=seconds / 10)
        began = server.cpu_seconds()
        outcome = wire.load(server.address, make, connections=connections, seconds=seconds)
        if set(outcome.statuses) != {200}:
            raise RuntimeError(f"reads of a job were answered {dict(outcome.statuses)}")
        found.append((outcome, (server.cpu_seconds() - began) / len(outcome.latencies)))
    return Turn(found[0][0], found[1][0], found[0][1], found[1][1])


def _told(turns: list[Turn], connections: int, goal: float | None) -> list[Measured]:
    ratio = median([turn.ours.per_second / turn.bare.per_second for turn in turns])
    cpu = median([turn.bare_cpu / turn.our_cpu for turn in turns])
    name = f"reads of a job, {connections} connection{'' if connections == 1 else 's'}"
    latencies = [each for turn in turns for each in turn.ours.latencies]
    what = f"{name}: requests/s against a bare route"
    return [
        at_least(what, ratio, "×", goal) if goal else Measured(what, ratio, "×"),
        Measured(f"{name}: the same by processor time of the server", cpu, "×"),
        Measured(f"{name}: ours", median([turn.ours.per_second for turn in turns]), "requests/s"),
        Measured(f"{name}: bare", median([turn.bare.per_second for turn in turns]), "requests/s"),
        Measured(f"{name}: p50", percentile(latencies, 50) * 1e3, "ms"),
        Measured(f"{name}: p99", percentile(latencies, 99) * 1e3, "ms"),
    ]
