"""A job as a Python program sees it: its state, waiting for it, and what it leaves."""

import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from httpx_sse import ServerSentEvent

from warpadam.sdk.connection import Connection, segment
from warpadam.sdk.decode import Json, decode, known_fields
from warpadam.sdk.downloading import Content, download
from warpadam.sdk.errors import ConnectionFailed, JobFailed, RateLimited, ServerError, WaitTimeout, WarpAdamError
from warpadam.sdk.models import (
    Attempt,
    Checkpoint,
    Event,
    Failure,
    LogLine,
    Point,
    Reason,
    Result,
    StepsDone,
    Transition,
)
from warpadam.sdk.modes import Awaited, Blocking, M, Resource, call, call_self, each
from warpadam.sdk.pages import pages
from warpadam.sdk.progress import job_progress, transfer_progress

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
_NO_MORE = 204
"""Answered to whoever has seen all of a stream."""
_PATIENCE_S = 300.0
_RECONNECT_S = 0.5
_AWAY = (ConnectionFailed, ServerError, RateLimited)

Record = TypeVar("Record")


@dataclass(kw_only=True)
class BaseJob(Resource[M]):
    """What `Job` and `AsyncJob` share. Its fields are as of the last answer; `refresh()` asks again."""

    id: str
    state: str
    spec: Json
    spec_version: int = 1
    warp_version: int | None
    start_version: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    transitions: list[Transition] = field(default_factory=list, repr=False)
    attempts: list[Attempt] = field(default_factory=list, repr=False)
    progress: StepsDone = field(default_factory=lambda: StepsDone(of=None, eta_s=None))
    pending_reason: Reason | None
    result: Result | None
    failure: Failure | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)
    _connection: Connection = field(init=False, repr=False, compare=False)

    @property
    def blocks(self) -> bool:
        return self._connection.transport.blocks

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{segment(self.id)}"

    @call_self
    async def refresh(self) -> None:
        await self._refresh()

    @call_self
    async def cancel(self) -> None:
        await self._act("cancel")

    @call_self
    async def pause(self) -> None:
        """Its last checkpoint stays, and `resume` goes on from there."""
        await self._act("pause")

    @call_self
    async def resume(self) -> None:
        await self._act("resume")

    @call
    async def delete(self) -> None:
        """Hides a job that has ended; its contributions stay in P."""
        await self._connection.json("DELETE", self._path)

    @call
    async def metrics(self, *names: str, max_points: int = 1000) -> dict[str, list[Point]]:
        """The points of each metric, by its name; of all metrics where none is named."""
        return await self._metrics(names, max_points)

    @each
    async def events(self, *, follow: bool = False) -> AsyncIterator[Event]:
        """What happened to the job, oldest first; with `follow` as it happens, until the job has ended."""
        async for event in self._records("events", Event, follow):
            yield event

    @each
    async def logs(self, *, follow: bool = False) -> AsyncIterator[LogLine]:
        """The lines that the job's attempts printed, oldest first; with `follow` as they come, until its end."""
        async for line in self._records("logs", LogLine, follow):
            yield line

    @each
    async def checkpoints(self) -> AsyncIterator[Checkpoint]:
        """Newest first."""
        async for checkpoint in pages(self._connection, f"{self._path}/checkpoints", Checkpoint):
            yield checkpoint

    @call
    async def download(
        self, path: str | os.PathLike[str], *, checkpoint: str | int = "best", progress: bool = False
    ) -> Path:
        """Writes a checkpoint's weights (safetensors) to `path`: `best`, `last`, or that of a step."""
        found = await self._checkpoint(checkpoint)
        content = Content(f"{self._path}/checkpoints/{found.step}/content", found.sha256, found.size)
        with transfer_progress(Path(path).name, found.size, enabled=progress) as show:
            return await download(self._connection, content, Path(path), show)

    @call_self
    async def wait(
        self,
        *,
        progress: bool = False,
        timeout_s: float | None = None,
        poll_s: float = 0.5,
        raise_on_failure: bool = True,
    ) -> None:
        """Waits until the job is over, through restarts of the service of up to five minutes.

        Raises JobFailed where it failed (unless told not to), WaitTimeout after `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with job_progress(self.id, enabled=progress) as shown:
            while True:
                await self._refresh_patiently(deadline, shown.away)
                if progress:
                    shown.job(self, await self._live_loss())
                if self.is_over:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise WaitTimeout(f"{self.id} is still {self.state} after {timeout_s:g} s")
                await self._connection.transport.sleep(poll_s)
        if raise_on_failure and self.state == "failed":
            raise JobFailed(self.id, self.failure.raw if self.failure else None)

    async def _refresh(self) -> None:
        self._update(await self._connection.json("GET", self._path))

    async def _act(self, verb: str) -> None:
        self._update(await self._connection.json("POST", f"{self._path}/{verb}"))

    def _update(self, content: Json) -> None:
        vars(self).update(known_fields(type(self), content))

    async def _metrics(self, names: tuple[str, ...], max_points: int) -> dict[str, list[Point]]:
        params: dict[str, Any] = {"max_points": max_points} | ({"name": list(names)} if names else {})
        found = (await self._connection.json("GET", f"{self._path}/metrics", params=params))["data"]
        return {name: [decode(Point, point) for point in points] for name, points in found.items()}

    async def _live_loss(self) -> float | None:
        if self.state != "running":
            return None
        try:
            points = (await self._metrics(("train_loss",), 2)).get("train_loss")
        except _AWAY:
            return None
        return points[-1].value if points else None

    async def _refresh_patiently(self, deadline: float | None, away: Any) -> None:
        give_up = time.monotonic() + _PATIENCE_S if deadline is None else deadline
        while True:
            try:
                await self._refresh()
                return
            except _AWAY:
                if time.monotonic() > give_up:
                    raise
                away()
                await self._connection.transport.sleep(_RECONNECT_S)

    async def _checkpoint(self, which: str | int) -> Checkpoint:
        async for found in pages(self._connection, f"{self._path}/checkpoints", Checkpoint):
            flags = {"best": found.is_best, "last": found.is_last}
            if flags.get(str(which), str(found.step) == str(which)):
                return found
        raise WarpAdamError(f"{self.id} has no checkpoint {which}: it has none of that name or step (yet)")

    async def _records(self, what: str, kind: type[Record], follow: bool) -> AsyncIterator[Record]:
        path = f"{self._path}/{what}"
        found = self._followed(path, kind) if follow else pages(self._connection, path, kind)
        async for record in found:
            yield record

    async def _followed(self, path: str, kind: type[Record]) -> AsyncIterator[Record]:
        """A stream that breaks off is taken up again after the last record that was seen, for up to five minutes."""
        last: str | None = None
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                async with aclosing(self._stream(path, last)) as messages:
                    async for message in messages:
                        last = message.id or last
                        give_up = time.monotonic() + _PATIENCE_S
                        if content := message.json():
                            yield decode(kind, content)
                        if message.event == "end":
                            return
            except _AWAY:
                if time.monotonic() > give_up:
                    raise
            await self._connection.transport.sleep(_RECONNECT_S)

    async def _stream(self, path: str, last: str | None) -> AsyncGenerator[ServerSentEvent, None]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        async with self._connection.stream(path, headers) as answer:
            if answer.status_code == _NO_MORE:
                yield ServerSentEvent(event="end", data="{}")
                return
            async for message in self._connection.transport.events(answer):
                yield message


class Job(BaseJob[Blocking]):
    """A job of a `Client`."""


class AsyncJob(BaseJob[Awaited]):
    """A job of an `AsyncClient`: its methods are awaited."""


J = TypeVar("J", bound=BaseJob[Any])


def job_from(kind: type[J], content: Json, connection: Connection) -> J:
    job = decode(kind, content)
    job._connection = connection
    return job
