"""Server-sent events: what a reader of the database would see, as it comes.

A stream polls the database in a worker thread, so it survives any other process, needs no broker, and a reconnecting
client goes on after the last id that it saw. It ends with the job's `end`, when the client goes away, and when the
server shuts down (sse-starlette watches both).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

POLL_S = 0.3
HEARTBEAT_S = 15
GRACE_S = 1
"""Seconds that a stream gets to end properly when the server shuts down."""


@dataclass(frozen=True)
class Item:
    """One event of a stream; `data` is one line of JSON. `cursor` is where a poll goes on after it."""

    id: str
    type: str
    data: str
    cursor: int
    is_last: bool = False


def wants_stream(request: Request) -> bool:
    """Whether the client asked for a live stream instead of a list."""
    return "text/event-stream" in request.headers.get("accept", "")


WantsStream = Annotated[bool, Depends(wants_stream)]


def stream(read: Callable[[int], Sequence[Item]], after: int) -> EventSourceResponse:
    """Streams what `read(cursor)` finds from the cursor `after` on; `read` runs in a worker thread."""
    stopping = anyio.Event()
    return EventSourceResponse(
        _poll(read, after, stopping),
        ping=HEARTBEAT_S,
        ping_message_factory=_heartbeat,
        sep="\n",
        shutdown_event=stopping,
        shutdown_grace_period=GRACE_S,
    )


async def _poll(
    read: Callable[[int], Sequence[Item]], cursor: int, stopping: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(comment="connected", sep="\n")
    while not stopping.is_set():
        items = await anyio.to_thread.run_sync(read, cursor)
        for item in items:
            yield ServerSentEvent(data=item.data, event=item.type, id=item.id, sep="\n")
            if item.is_last:
                return
            cursor = item.cursor
        if not items:
            with anyio.move_on_after(POLL_S):
                await stopping.wait()


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="heartbeat", sep="\n")
