"""Submissions: real, validated POSTs, alone and in a burst, while 200 clients listen to events."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from benchmarks.api import wire
from benchmarks.api.filling import MINE
from benchmarks.api.house import House
from benchmarks.api.listeners import Crowd
from benchmarks.api.numbers import Measured, at_most, percentile
from service import clock, events
from service.db.models import Job

BURST = 1000
LISTENERS = 200
LISTENED_TO = 20
CONNECTIONS = 8
EVENT_S = 2.0
"""What a listener may wait at most: the hub looks every 0.3 s, and the processor is busy with submissions."""


@dataclass(frozen=True)
class Submitter:
    place: House
    spec: dict[str, Any]

    def make(self, number: int) -> bytes:
        spec = {**self.spec, "metadata": {"number": str(number)}}
        return wire.request("POST", "/v1/jobs", key=self.place.keys[MINE], body=json.dumps(spec).encode())

    def run(self, most: int, connections: int) -> wire.Outcome:
        return wire.load(self.place.api.address, self.make, connections=connections, most=most)


def measure(place: House, spec: dict[str, Any], burst: int) -> list[Measured]:
    submitter = Submitter(place, spec)
    alone = submitter.run(max(20, burst // 10), 1)
    before = place.api.megabytes()
    with place.database.read() as session:
        ids = list(
            session.scalars(select(Job.id).where(Job.project == MINE, Job.state == "running").limit(LISTENED_TO))
        )
    with Crowd(place.api.address, place.keys[MINE], [ids[n % len(ids)] for n in range(LISTENERS)]) as crowd:
        crowd.wait_connected()
        while_listening = place.api.megabytes()
        sent = _Teller(place, ids)
        outcome = wire.load(place.api.address, sent.between(submitter.make, burst), connections=CONNECTIONS, most=burst)
        told = crowd.wait_for(sent.times, EVENT_S * 5)
    if not outcome.statuses.keys() & {201, 429}:
        raise RuntimeError(f"submissions were answered {dict(outcome.statuses)}: {outcome.body[:500]!r}")
    refused = sum(count for status, count in outcome.statuses.items() if status not in (201, 429))
    latencies = [each for listener in told for each in listener]
    missing = sum(sent.expected(n) - len(listener) for n, listener in enumerate(told))
    return [
        Measured("submissions, 1 connection", alone.per_second, "jobs/s"),
        Measured(f"submissions, {CONNECTIONS} connections, 200 listeners", outcome.per_second, "jobs/s"),
        Measured("submissions in the burst: p99", percentile(outcome.latencies, 99) * 1e3, "ms"),
        at_most(f"of a burst of {burst} neither accepted nor told 429", refused, "submissions", 0),
        at_most(f"events that did not reach one of {LISTENERS} listeners", missing, "events", 0),
        Measured("event to listener: p50", percentile(latencies, 50) * 1e3, "ms"),
        at_most("event to listener: p99", percentile(latencies, 99) * 1e3, "ms", EVENT_S * 1e3),
        at_most("slowest listener's median", max(_median(each) for each in told) * 1e3, "ms", EVENT_S * 1e3),
        Measured("memory before, and what 200 listeners add", before, "MB", note=f"+{while_listening - before:.1f} MB"),
        Measured("memory after the burst", place.api.megabytes(), "MB"),
    ]


def _median(values: list[float]) -> float:
    return percentile(values, 50) if values else float("inf")


class _Teller:
    """Writes events into the jobs that are listened to, while the burst goes on."""

    def __init__(self, place: House, ids: list[str]) -> None:
        self._place, self._ids = place, ids
        self.times: dict[str, float] = {}
        self._count: dict[str, int] = dict.fromkeys(ids, 0)

    def expected(self, listener: int) -> int:
        return self._count[self._ids[listener % len(self._ids)]]

    def between(self, make: Callable[[int], bytes], burst: int) -> Callable[[int], bytes]:
        """`make`, which tells 40 events on the way."""
        every = max(1, burst // 40)

        def making(number: int) -> bytes:
            if number % every == 0:
                job = self._ids[number // every % len(self._ids)]
                event = self._place.database.write(
                    lambda session: events.add(session, job, "progress", "told", now=clock.now()).id
                )
                self.times[event] = time.perf_counter()
                self._count[job] += 1
            return make(number)

        return making
