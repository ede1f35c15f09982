"""The Python SDK: `Client`. Needs httpx only; torch is loaded when a P is pulled as a `Warp`."""

import os
from types import TracebackType
from typing import Self

from warpadam.sdk.connection import Connection, Json
from warpadam.sdk.resources import Datasets, Families, Jobs, Warps

DEFAULT_URL = "http://127.0.0.1:8000"


class Client:
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
        url = base_url or os.environ.get("WARPADAM_URL") or DEFAULT_URL
        key = api_key or os.environ.get("WARPADAM_API_KEY")
        self._connection = Connection(url, key, timeout_s=timeout_s, tries=tries)
        self.base_url = self._connection.base_url
        self.jobs = Jobs(self._connection)
        self.datasets = Datasets(self._connection)
        self.families = Families(self._connection)
        self.warps = Warps(self._connection)

    def cluster(self) -> Json:
        """The cluster as the dispatcher last saw it: nodes, CPUs, GPUs, what is free, the queue."""
        return self._connection.json("GET", "/v1/cluster")

    def ready(self) -> Json:
        """Raises ServerError while a part of the service is not there."""
        return self._connection.json("GET", "/readyz")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
