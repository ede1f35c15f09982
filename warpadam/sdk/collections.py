"""`client.jobs`, `datasets`, `checkpoints`: what one submits, and what it is trained on."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Generic, Unpack

from warpadam.sdk.connection import Connection, given, segment
from warpadam.sdk.decode import Json, decode
from warpadam.sdk.errors import DatasetInvalid
from warpadam.sdk.job import J, job_from
from warpadam.sdk.models import Checkpoint, Dataset, Validation
from warpadam.sdk.modes import M, Resource, call, each
from warpadam.sdk.packing import packed
from warpadam.sdk.pages import pages
from warpadam.sdk.progress import transfer_progress
from warpadam.sdk.spec import JobFields

_INSPECTING_POLL_S = 0.3


class Collection(Resource[M]):
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def blocks(self) -> bool:
        return self._connection.transport.blocks


class Jobs(Collection[M], Generic[M, J]):
    def __init__(self, connection: Connection, kind: type[J]) -> None:
        super().__init__(connection)
        self._kind = kind

    @call
    async def create(self, spec: Mapping[str, Any] | None = None, /, **fields: Unpack[JobFields]) -> J:
        """Submits a job: the description as a mapping, as keywords, or both (CONTRACT, Job description)."""
        return self._job(await self._connection.json("POST", "/v1/jobs", body={**(spec or {}), **fields}))

    @call
    async def validate(self, spec: Mapping[str, Any] | None = None, /, **fields: Unpack[JobFields]) -> Validation:
        """What `create` would do: the resolved description and warnings, or the same error."""
        body = {**(spec or {}), **fields}
        found = await self._connection.json("POST", "/v1/jobs", params={"validate_only": "true"}, body=body)
        return decode(Validation, found)

    @call
    async def get(self, job_id: str) -> J:
        return self._job(await self._connection.json("GET", f"/v1/jobs/{segment(job_id)}"))

    @each
    async def list(
        self,
        *,
        state: str | Sequence[str] | None = None,
        family: str | Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[J]:
        """Newest first, all pages; of several states or families, jobs in either."""
        params: dict[str, Any] = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        params |= given(state=state, family=family, limit=page_size)
        async for job in pages(self._connection, "/v1/jobs", self._kind, params):
            job._connection = self._connection
            yield job

    @call
    async def cancel(self, job_id: str) -> J:
        return await self._act(job_id, "cancel")

    @call
    async def pause(self, job_id: str) -> J:
        return await self._act(job_id, "pause")

    @call
    async def resume(self, job_id: str) -> J:
        return await self._act(job_id, "resume")

    @call
    async def delete(self, job_id: str) -> None:
        """Hides a job that has ended; its contributions stay in P."""
        await self._connection.json("DELETE", f"/v1/jobs/{segment(job_id)}")

    async def _act(self, job_id: str, verb: str) -> J:
        return self._job(await self._connection.json("POST", f"/v1/jobs/{segment(job_id)}/{verb}"))

    def _job(self, content: Json) -> J:
        return job_from(self._kind, content, self._connection)


class Datasets(Collection[M]):
    @call
    async def create(
        self,
        source: str | os.PathLike[str] | None = None,
        *,
        name: str | None = None,
        format: str | None = None,
        target: str | None = None,
        val_fraction: float | None = None,
        split_seed: int | None = None,
        normalize: str | None = None,
        builtin: str | None = None,
        part: str | None = None,
        config: str | None = None,
        split: str | None = None,
        columns: Sequence[str] | None = None,
        max_length: int | None = None,
        progress: bool = False,
    ) -> Dataset:
        """Registers a dataset: a local file is uploaded; `s3://…`, `https://…` and the like are named by their URI.

        With `format="package"` it is code for `model={"entrypoint": "package.module:function", "package": dataset.id}`:
        a zip, a wheel of pure Python, or the folder of a package itself.

        `hf://datasets/<owner>/<name>@<revision>` is a data set of the Hugging Face Hub, of which `config`, `split`,
        `columns` and `max_length` say what is read.

        Without a source: `builtin` names one that the service has, `part` a part of it. Raises DatasetInvalid where the
        service could not make sense of it, with its reason.
        """
        options = given(
            format=format, target=target, val_fraction=val_fraction, split_seed=split_seed, normalize=normalize
        )
        if source is None or "://" in str(source):
            uri = None if source is None else str(source)
            of_hub = given(config=config, split=split, columns=columns, max_length=max_length)
            body = options | of_hub | given(name=name, uri=uri, builtin=builtin, part=part)
            return await self._ready(await self._connection.json("POST", "/v1/datasets", body=body))
        path = Path(source).expanduser()
        fields = {key: str(value) for key, value in ({"name": name or path.stem} | options).items()}
        with ExitStack() as stack:
            if format == "package" and path.is_dir():
                path = stack.enter_context(packed(path))
            show = stack.enter_context(transfer_progress(path.name, path.stat().st_size, enabled=progress))
            sent = await self._connection.upload("/v1/datasets", fields, path, show)
        return await self._ready(sent)

    async def _ready(self, content: Json) -> Dataset:
        while content["state"] == "inspecting":
            await self._connection.transport.sleep(_INSPECTING_POLL_S)
            content = await self._connection.json("GET", f"/v1/datasets/{content['id']}")
        dataset = decode(Dataset, content)
        if dataset.state == "invalid":
            raise DatasetInvalid(f"{dataset.id} cannot be used: {dataset.error}")
        return dataset

    @call
    async def get(self, dataset_id: str) -> Dataset:
        return decode(Dataset, await self._connection.json("GET", f"/v1/datasets/{segment(dataset_id)}"))

    @each
    async def list(self) -> AsyncIterator[Dataset]:
        """Newest first."""
        async for dataset in pages(self._connection, "/v1/datasets", Dataset):
            yield dataset

    @call
    async def delete(self, dataset_id: str) -> None:
        await self._connection.json("DELETE", f"/v1/datasets/{segment(dataset_id)}")


class Checkpoints(Collection[M]):
    @call
    async def upload(self, path: str | os.PathLike[str], *, progress: bool = False) -> Checkpoint:
        """Uploads a base model's weights (safetensors), for `init={"checkpoint": checkpoint.id}`."""
        source = Path(path).expanduser()
        with transfer_progress(source.name, source.stat().st_size, enabled=progress) as show:
            return decode(Checkpoint, await self._connection.upload("/v1/checkpoints", {}, source, show))
