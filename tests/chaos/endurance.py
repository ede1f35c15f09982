"""The long run and the rush: many jobs through one service, with an eye on its memory and file handles."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median

import httpx
import psutil
from sqlalchemy import select

from service.db.models import Job
from service.states import JobState
from tests.chaos import blows, load
from tests.chaos.campaign import Campaign
from tests.chaos.house import House

Numbers = dict[str, float | int | str]
WARM_UP, AT_A_TIME = 20, 10


def soak(campaign: Campaign, jobs: int) -> Numbers:
    """`jobs` small jobs, a few at a time; memory (MiB) and file handles of what stays, before, half way and after."""
    house = campaign.house
    _run(campaign, range(WARM_UP))  # what is loaded once is loaded then
    began, found = time.monotonic(), _use(house, "before")
    half = (WARM_UP + jobs) // 2
    _run(campaign, range(WARM_UP, half))
    found |= _use(house, "half way")
    _run(campaign, range(half, jobs))
    found |= _use(house, "after")
    return {"jobs": jobs, "seconds": round(time.monotonic() - began, 1)} | dict(sorted(found.items(), key=_by_part))


def _by_part(named: tuple[str, object]) -> str:
    return named[0].partition(",")[0]


def _run(campaign: Campaign, numbers: range) -> None:
    for first in range(numbers.start, numbers.stop, AT_A_TIME):
        specs = [load.job(number) for number in range(first, min(first + AT_A_TIME, numbers.stop))]
        for spec in specs:
            spec["training"] |= {"steps": 40}
            spec["metadata"] = {}
        campaign.settle([campaign.submit(spec) for spec in specs])


def _use(house: House, when: str) -> Numbers:
    found: Numbers = {}
    for part, find in blows.STAYING.items():
        for process in find(house)[:1]:
            with suppress(psutil.Error):
                found[f"{part} MiB, {when}"] = round(process.memory_full_info().uss / 2**20, 1)
                found[f"{part} handles, {when}"] = process.num_fds()
    return found


def burst(house: House, count: int, clients: int = 16) -> Numbers:
    """`count` submits as fast as `clients` can; they are cancelled afterwards. Refusals other than 429 are counted."""
    body = load.job(0) | {"family": "burst", "resources": {"cpus_per_worker": 1000}, "queue_timeout_s": None}
    seconds: list[float] = []
    statuses: list[int] = []
    refusals: list[str] = []
    with httpx.Client(base_url=house.url, timeout=120) as client, ThreadPoolExecutor(clients) as pool:

        def submit(_: int) -> str | None:
            began = time.monotonic()
            answer = client.post("/v1/jobs", json=body)
            seconds.append(time.monotonic() - began)
            statuses.append(answer.status_code)
            if answer.status_code not in (201, 429):
                refusals.append(answer.text)
            return answer.json().get("id")

        began = time.monotonic()
        ids = [each for each in pool.map(submit, range(count)) if each]
        took = time.monotonic() - began
        kept = int(client.get("/v1/cluster").json()["queue"]["queued"])

        def cancel(job: str) -> None:
            with suppress(httpx.HTTPError):
                client.post(f"/v1/jobs/{job}/cancel")

        list(pool.map(cancel, ids))
    return {
        "submits": count,
        "accepted": len(ids),
        "refused_with_429": statuses.count(429),
        "refused_otherwise": len(refusals),
        "accepted_per_second": round(len(ids) / took, 1),
        "median_ms": round(1000 * median(seconds), 1),
        "worst_ms": round(1000 * max(seconds), 1),
        "queued_afterwards": kept,
        "ended": _ended(house, ids),
    } | ({"a_refusal": refusals[0]} if refusals else {})


def _ended(house: House, ids: list[str]) -> int:
    with house.database.read() as session:
        states = session.scalars(select(Job.state).where(Job.id.in_(ids)))
        return sum(JobState(state).is_terminal for state in states)
