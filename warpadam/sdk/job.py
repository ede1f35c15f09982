"""A job as a Python program sees it: state, waiting, metrics, events."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from httpx_sse import EventSource, ServerSentEvent

from warpadam.sdk.connection import Connection, Json, segment
from warpadam.sdk.errors import ConnectionFailed, JobFailed, ServerError, WaitTimeout
from warpadam.sdk.pages import iterate
from warpadam.sdk.progress import job_progress

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
NO_MORE = 204
"""Answered to whoever has seen all of a stream."""
_PATIENCE_S = 300.0
_RECONNECT_S = 1.0


@dataclass
class Job:
    """`data` is the service's JSON (CONTRACT, `GET /jobs/{id}`), so a field that a newer service adds is there too."""

    data: Json
    connection: Connection = field(repr=False)

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def _path(self) -> str:
        return f"/v1/jobs/{segment(self.id)}"

    @property
    def state(self) -> str:
        return str(self.data["state"])

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL

    @property
    def result(self) -> Json | None:
        return self.data.get("result")

    @property
    def failure(self) -> Json | None:
        return self.data.get("failure")

    @property
    def warp_version(self) -> int | None:
        return self.data.get("warp_version")

    def refresh(self) -> Self:
        self.data = self.connection.json("GET", self._path)
        return self

    def cancel(self) -> Self:
        return self._act("cancel")

    def pause(self) -> Self:
        return self._act("pause")

    def resume(self) -> Self:
        return self._act("resume")

    def _act(self, verb: str) -> Self:
        self.data = self.connection.json("POST", f"{self._path}/{verb}")
        return self

    def metrics(self, *names: str, max_points: int = 1000) -> dict[str, list[Json]]:
        """`{name: [{step, value, at}]}`; all metrics where none is named."""
        params: dict[str, Any] = {"max_points": max_points} | ({"name": list(names)} if names else {})
        return dict(self.connection.json("GET", f"{self._path}/metrics", params=params)["data"])

    def events(self, *, follow: bool = False) -> Iterator[Json]:
        """The job's events, oldest first; with `follow` as they come, until the job has ended."""
        return self._records("events", follow)

    def logs(self, *, follow: bool = False) -> Iterator[Json]:
        """The lines that the job's attempts printed, oldest first; with `follow` as they come, until its end."""
        return self._records("logs", follow)

    def _records(self, what: str, follow: bool) -> Iterator[Json]:
        if follow:
            return self._followed(f"{self._path}/{what}")
        return iterate(self.connection, f"{self._path}/{what}", {"limit": 100})

    def _followed(self, path: str) -> Iterator[Json]:
        """A stream that breaks off is taken up again after the last record that was seen, for up to five minutes."""
        last: str | None = None
        give_up = time.monotonic() + _PATIENCE_S
        while True:
            try:
                for message in self._stream(path, last):
                    last = message.id or last
                    give_up = time.monotonic() + _PATIENCE_S
                    content = message.json()
                    if content:
                        yield content
                    if message.event == "end":
                        return
            except (ConnectionFailed, ServerError):
                if time.monotonic() > give_up:
                    raise
            time.sleep(_RECONNECT_S)

    def _stream(self, path: str, last: str | None) -> Iterator[ServerSentEvent]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        with self.connection.stream(path, headers) as answer:
            if answer.status_code == NO_MORE:
                yield ServerSentEvent(event="end", data="{}")
                return
            yield from EventSource(answer).iter_sse()

    def wait(
        self,
        *,
        progress: bool = False,
        timeout_s: float | None = None,
        poll_s: float = 0.5,
        raise_on_failure: bool = True,
    ) -> Self:
        """Waits until the job is over, through restarts of the service of up to five minutes.

        Raises JobFailed where it failed (unless told not to), WaitTimeout after `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with job_progress(self.id, enabled=progress) as show:
            while True:
                self._refresh_patiently(deadline)
                show(self)
                if self.is_over:
                    break
                if deadline is not None and time.monotonic() > deadline:
                    raise WaitTimeout(f"{self.id} is still {self.state} after {timeout_s:g} s")
                time.sleep(poll_s)
        if raise_on_failure and self.state == "failed":
            raise JobFailed(self.id, self.failure)
        return self

    def _refresh_patiently(self, deadline: float | None) -> None:
        give_up = time.monotonic() + _PATIENCE_S if deadline is None else deadline
        while True:
            try:
                self.refresh()
                return
            except (ConnectionFailed, ServerError):
                if time.monotonic() > give_up:
                    raise
                time.sleep(1.0)
