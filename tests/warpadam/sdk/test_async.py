"""`AsyncClient` against the real API: the same methods as `Client`, awaited."""

import asyncio
import inspect
from pathlib import Path

import pytest

from service.spec import DatasetRef, JobSpec, OptimizerSpec, Resources, Retries, TrainingSpec
from tests.api.attempt import Attempt
from tests.api.made import npz, warp_file
from tests.warpadam.sdk.served import Served
from tests.warpadam.sdk.test_client import DIGITS
from warpadam import AsyncClient, Client
from warpadam.sdk import errors, spec
from warpadam.sdk.job import AsyncJob


def test_a_job_is_followed_while_others_wait(served: Served) -> None:
    async def all_of_it() -> None:
        async with AsyncClient(served.url) as client:
            first, second = await asyncio.gather(client.jobs.create(DIGITS), client.jobs.create(DIGITS, name="two"))
            assert isinstance(first, AsyncJob)
            assert {job.id async for job in client.jobs.list(state="queued")} == {first.id, second.id}
            assert (await second.cancel()).state == "cancelled"
            following = asyncio.ensure_future(types(first))
            waiting = asyncio.ensure_future(first.wait(poll_s=0.05))
            await asyncio.to_thread(finish, served)
            assert (await waiting) is first
            assert first.result is not None
            assert (await following)[-1] == "end"
            assert [point.value for point in (await first.metrics("val_loss"))["val_loss"]] == [2.0, 1.0]
            with pytest.raises(errors.NotFound):
                await client.jobs.get("job_x")

    async def types(job: AsyncJob) -> list[str]:
        return [event.type async for event in job.events(follow=True)]

    asyncio.run(all_of_it())


def finish(served: Served) -> None:
    attempt = Attempt.begin(served.database)
    attempt.metric("val_loss", [2.0, 1.0])
    final = {"val_loss": 1.0}
    attempt.finish(result={"steps": 10, "seconds": 1.5, "final": final, "best": {**final, "step": 10}})


def test_files_travel_both_ways(served: Served, tmp_path: Path) -> None:
    (tmp_path / "patches.npz").write_bytes(npz())
    (tmp_path / "p.safetensors").write_bytes(warp_file())

    async def all_of_it() -> None:
        async with AsyncClient(served.url) as client:
            assert (await client.datasets.create(tmp_path / "patches.npz", progress=True)).state == "ready"
            await client.families.create("patches")
            pushed = await client.warps.push("patches", tmp_path / "p.safetensors")
            file = await client.warps.download("patches@1", tmp_path / "pulled.safetensors")
            assert file.read_bytes() == (await client.warps.content("patches@1"))
            assert [version.sha256 async for version in client.warps.list("patches")] == [pushed.sha256]

    asyncio.run(all_of_it())


def test_methods_explain_themselves() -> None:
    with Client("http://127.0.0.1:9") as client:
        assert inspect.getdoc(client.jobs.create) == inspect.getdoc(type(client.jobs).create)
        assert "Submits a job" in (inspect.getdoc(client.jobs.create) or "")
        assert list(inspect.signature(client.warps.download).parameters) == ["reference", "path", "progress"]


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        (spec.JobFields, JobSpec),
        (spec.DatasetFields, DatasetRef),
        (spec.OptimizerFields, OptimizerSpec),
        (spec.TrainingFields, TrainingSpec),
        (spec.ResourceFields, Resources),
        (spec.RetryFields, Retries),
    ],
)
def test_the_typed_description_has_the_services_fields(fields: type, model: type) -> None:
    assert set(fields.__annotations__) == set(model.model_fields)  # type: ignore[attr-defined]
