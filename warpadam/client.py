"""The Python SDK: `Client`, and `AsyncClient` for event loops. Needs httpx; torch where a P is pulled as a `Warp`."""

import os
import platform
from types import TracebackType
from typing import Any, Self

import httpx

from warpadam import __version__
from warpadam.sdk.admin import Audit, Keys, Webhooks
from warpadam.sdk.collections import Checkpoints, Collection, Datasets, Jobs
from warpadam.sdk.connection import Connection, authorization, checked_url
from warpadam.sdk.decode import decode
from warpadam.sdk.job import AsyncJob, Job
from warpadam.sdk.learned import Aliases, Families, Starts, Warps
from warpadam.sdk.matching import AsyncMatch, Match
from warpadam.sdk.models import Cluster, Readiness
from warpadam.sdk.modes import Awaited, Blocking, M, call, run
from warpadam.sdk.transport import AsyncTransport, BlockingTransport

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_S = 5.0


class _Client(Collection[M]):
    """What both clients share."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.base_url = connection.base_url
        self.datasets = Datasets[M](connection)
        self.checkpoints = Checkpoints[M](connection)
        self.warps = Warps[M](connection)
        self.starts = Starts[M](connection)
        self.aliases = Aliases[M](connection)
        self.keys = Keys[M](connection)
        self.audit = Audit[M](connection)
        self.webhooks = Webhooks[M](connection)

    @call
    async def cluster(self) -> Cluster:
        """The cluster as the dispatcher last saw it: nodes, CPUs, GPUs, what is free, the queue."""
        return decode(Cluster, await self._connection.json("GET", "/v1/cluster"))

    @call
    async def ready(self) -> Readiness:
        """Raises ServerError while a part of the service is not there."""
        return decode(Readiness, await self._connection.json("GET", "/readyz"))


class Client(_Client[Blocking]):
    """A connection to the service.

        client = Client("http://localhost:8000")
        job = client.jobs.create(
            family="digits", dataset={"builtin": "digits"}, task="classification",
            model={"arch": "mlp", "hidden": [64]}, training={"steps": 300},
        )
        job.wait(progress=True).result

    `base_url` and `api_key` come from WARPADAM_URL and WARPADAM_API_KEY where they are not given. A request is tried
    `tries` times while the service is away or busy; a POST is never executed twice.
    """

    def __init__(
        self, base_url: str | None = None, *, api_key: str | None = None, timeout_s: float = 30.0, tries: int = 4
    ) -> None:
        settings = _http_settings(base_url, api_key, timeout_s)
        transport = BlockingTransport(httpx.Client(**settings))
        super().__init__(Connection(settings["base_url"], transport, tries=tries))
        self.jobs = Jobs[Blocking, Job](self._connection, Job)
        self.families = Families[Blocking, Match](self._connection, Match)

    def close(self) -> None:
        run(self._connection.transport.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Client[Awaited]):
    """`Client` for asyncio and trio: the same methods, awaited, and lists by `async for`.

        async with AsyncClient() as client:
            job = await client.jobs.create(family="digits", …)
            async for event in job.events(follow=True): ...

    Files are read and written in pieces between awaits, on the loop's own thread.
    """

    def __init__(
        self, base_url: str | None = None, *, api_key: str | None = None, timeout_s: float = 30.0, tries: int = 4
    ) -> None:
        settings = _http_settings(base_url, api_key, timeout_s)
        transport = AsyncTransport(httpx.AsyncClient(**settings))
        super().__init__(Connection(settings["base_url"], transport, tries=tries))
        self.jobs = Jobs[Awaited, AsyncJob](self._connection, AsyncJob)
        self.families = Families[Awaited, AsyncMatch](self._connection, AsyncMatch)

    async def close(self) -> None:
        await self._connection.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _http_settings(base_url: str | None, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    agent = {"User-Agent": f"warpadam/{__version__} python/{platform.python_version()}"}
    return {
        "base_url": checked_url(base_url or os.environ.get("WARPADAM_URL") or DEFAULT_URL),
        "headers": agent | authorization(api_key or os.environ.get("WARPADAM_API_KEY")),
        "timeout": httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
        "follow_redirects": False,
    }
