"""The SDK, as a strict user writes it."""

from datetime import datetime

from warpadam import AsyncClient, Client
from warpadam.sdk.job import AsyncJob, Job
from warpadam.sdk.matching import AsyncMatch
from warpadam.sdk.models import Event


def blocking(client: Client) -> float:
    job: Job = client.jobs.create(family="f", dataset={"builtin": "digits"}, training={"steps": 3}).wait(progress=True)
    names: list[str] = [family.name for family in client.families.list()]
    events: list[Event] = list(job.events())
    began: datetime | None = job.started_at
    assert job.result is not None
    assert names
    assert events
    assert began
    return job.result.final["val_loss"] + client.warps.get("f").size


def matching(client: Client) -> str | None:
    result = client.families.match(dataset={"builtin": "digits"}, limit=3).wait(timeout_s=60).result
    assert result is not None
    return result.recommendation.family


async def waiting(client: AsyncClient) -> AsyncJob:
    job = await (await client.jobs.get("job_1")).cancel()
    years: list[int] = [event.created_at.year async for event in job.events(follow=True)]
    match: AsyncMatch = await (await client.families.match(task="classification")).wait()
    assert match.failure is None
    listed: list[AsyncJob] = [each async for each in client.jobs.list(state="running")]
    return listed[years[0]]


def refused(client: Client) -> None:
    client.jobs.create(famly="f")  # type: ignore[call-arg]
    client.jobs.get(7)  # type: ignore[arg-type]
    client.jobs.get("job_1").stat  # type: ignore[attr-defined]  # noqa: B018
    client.datasets.create("x.csv", val_fraction="a tenth")  # type: ignore[arg-type]
    client.jobs.create(optimizer={"name": "sgd"})  # type: ignore[typeddict-item]


async def refused_too(client: AsyncClient) -> None:
    client.jobs.get("job_1").state  # type: ignore[attr-defined]  # noqa: B018
    for _ in client.jobs.list():  # type: ignore[attr-defined]
        pass
