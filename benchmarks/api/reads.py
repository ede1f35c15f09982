"""Reads of a job against the same bytes from a route that does nothing, in turns."""

from collections.abc import Callable, Sequence
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
    """Of jobs that have ended, which change no more, and of jobs that run, which may with every read."""
    return [
        *_measured(place, "succeeded", "reads of a job", turns, seconds, ((CONNECTIONS, 0.5), (1, None))),
        *_measured(place, "running", "reads of a running job", turns, seconds, ((CONNECTIONS, None),)),
    ]


def _measured(
    place: House, state: str, name: str, turns: int, seconds: float, loads: Sequence[tuple[int, float | None]]
) -> list[Measured]:
    with place.database.read() as session:
        newest = select(Job.id).where(Job.project == MINE, Job.state == state).order_by(Job.id.desc())
        ids = list(session.scalars(newest.limit(DIFFERENT)))
    sent = [wire.request("GET", f"/v1/jobs/{id_}", key=place.keys[MINE]) for id_ in ids]

    def make(number: int) -> bytes:
        return sent[number % len(sent)]

    found: list[Measured] = []
    with house.bare(wire.ask(place.api.address, sent[0]).body, place.folder) as bare:
        for connections, goal in loads:
            times = turns if goal else max(1, turns // 2)
            taken = [_turn(bare, place.api, make, connections, seconds) for _ in range(times)]
            found += _told(taken, f"{name}, {connections} connection{'' if connections == 1 else 's'}", goal)
    return found


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


def _told(turns: list[Turn], name: str, goal: float | None) -> list[Measured]:
    ratio = median([turn.ours.per_second / turn.bare.per_second for turn in turns])
    cpu = median([turn.bare_cpu / turn.our_cpu for turn in turns])
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
