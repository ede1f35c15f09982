"""Clients that are slow on purpose, or gone: what they hold is given back.

A head, which costs a connection, must be there within `HEAD_S`, however its bytes trickle; a body, which costs a
thread where it is an upload, may pause for `IDLE_S` and must keep a pace. Only what the client takes counts, not what
the storage does. (Who takes nothing of an event stream is cut off by api/sse.py.)
"""

import asyncio
import time

import anyio
from starlette.types import Message, Receive
from uvicorn.protocols.http.h11_impl import H11Protocol

from api.errors import HttpError

HEAD_S = 20.0
IDLE_S = 30.0
GRACE_S = 60.0
LEAST_PER_S = 1024.0
"""Bytes that a body must have brought for each second that it was waited for, beyond `GRACE_S`."""


class Protocol(H11Protocol):
    """uvicorn's HTTP/1.1, which by itself waits for a request's head for ever, and reads on after it has answered."""

    _leaving: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_answering:
            self._unwatch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unwatch()
        if not self._is_answering:
            self._watch()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch(self) -> None:
        self._leaving = self.loop.call_later(HEAD_S, self.transport.abort)

    def _unwatch(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None


def paced(receive: Receive) -> Receive:
    """`receive` that raises HttpError 408 for a body that stands still or crawls."""
    waited, received, is_over = 0.0, 0, False

    async def patient() -> Message:
        nonlocal waited, received, is_over
        if is_over:  # what is waited for now is the client's going away
            return await receive()
        began = time.monotonic()
        message: Message | None = None
        with anyio.move_on_after(IDLE_S):
            message = await receive()
        waited += time.monotonic() - began
        if message is None:
            raise _too_slow(f"Nothing of the body came for {IDLE_S:.0f} s")
        received += len(message.get("body", b""))
        is_over = not message.get("more_body", False)
        if not is_over and waited > GRACE_S + received / LEAST_PER_S:
            raise _too_slow(f"The body comes at less than {LEAST_PER_S:.0f} bytes a second")
        return message

    return patient


def _too_slow(what: str) -> HttpError:
    return HttpError(408, f"{what}: send it again.", headers={"Connection": "close"})
