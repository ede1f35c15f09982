"""The long run and the rush: many jobs through one service, with an eye on its memory and file handles."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median

import httpx
import psutil

from tests.chaos import load
from tests.chaos.campaign import Campaign
from tests.chaos.house import House

Numbers = dict[str, float | int]


def soak(campaign: Campaign, jobs: int) -> Numbers:
    """`jobs` small jobs, a few at a time; memory (MiB) and file handles of API and dispatcher before and after."""
    house = campaign.house
    _run(campaign, range(20))  # what is loaded once is loaded then
    before, began = _use(house), time.monotonic()
    _run(campaign, range(20, jobs))
    after = _use(house)
    return {"jobs": jobs, "seconds": round(time.monotonic() - began, 1)} | {
        f"{name}_{when}": value for when, use in (("before", before), ("after", after)) for name, value in use.items()
    }


def _run(campaign: Campaign, numbers: range) -> None:
    for first in range(numbers.start, numbers.stop, 10):
        specs = [load.job(number) for number in range(first, min(first + 10, numbers.stop))]
        for spec in specs:
            spec["training"] |= {"steps": 40}
            spec["metadata"] = {}
        campaign.settle([campaign.house.submit(spec) for spec in specs])


def _use(house: House) -> Numbers:
    parts = {"api": house.children("-m api")[:1], "dispatcher": _dispatcher(house)}
    found: Numbers = {}
    for name, processes in parts.items():
        for process in processes:
            found[f"{name}_mib"] = round(process.memory_info().rss / 2**20, 1)
            found[f"{name}_handles"] = process.num_fds()
    return found


def _dispatcher(house: House) -> list[psutil.Process]:
    return [process for process in house.children("-m workers") if process.cmdline()[-1] == "workers"]


def burst(house: House, count: int, clients: int = 16) -> Numbers:
    """`count` submits as fast as `clients` can; they are cancelled afterwards. Refusals other than 429 are counted."""
    body = load.job(0) | {"family": "burst", "resources": {"workers": 1000}, "queue_timeout_s": None}
    seconds: list[float] = []
    statuses: list[int] = []
    with httpx.Client(base_url=house.url, timeout=120) as client, ThreadPoolExecutor(clients) as pool:

        def submit(_: int) -> str | None:
            began = time.monotonic()
            answer = client.post("/v1/jobs", json=body)
            seconds.append(time.monotonic() - began)
            statuses.append(answer.status_code)
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
        "refused_otherwise": sum(status not in (201, 429) for status in statuses),
        "accepted_per_second": round(len(ids) / took, 1),
        "median_ms": round(1000 * median(seconds), 1),
        "worst_ms": round(1000 * max(seconds), 1),
        "queued_afterwards": kept,
    }
