"""Server-sent events: what a reader of the database would see, as it comes.

A stream polls the database in a worker thread, so it survives any other process, needs no broker, and a reconnecting
client goes on after the last id that it saw. It ends with the job's `end`, when the client goes away, and when the
server shuts down (sse-starlette watches both). A listener whose key was revoked meanwhile is sent away.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

POLL_S = 0.3
HEARTBEAT_S = 15
WELCOME_S = 15.0
"""Between two looks at whether a listener's key still opens what it listens to."""
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


def stream(
    read: Callable[[int], Sequence[Item]], after: int, is_welcome: Callable[[], bool] = lambda: True
) -> EventSourceResponse:
    """Streams what `read(cursor)` finds from the cursor `after` on; `read` runs in a worker thread.

    `is_welcome` is asked there too, every `WELCOME_S`; where it says no the stream ends without an `end`.
    """
    stopping = anyio.Event()
    return EventSourceResponse(
        _poll(read, after, is_welcome, stopping),
        ping=HEARTBEAT_S,
        ping_message_factory=_heartbeat,
        sep="\n",
        shutdown_event=stopping,
        shutdown_grace_period=GRACE_S,
    )


def finished() -> Response:
    """What a client gets that comes back after the end: a browser's EventSource tries again for ever otherwise."""
    return Response(status_code=204)


async def _poll(
    read: Callable[[int], Sequence[Item]], cursor: int, is_welcome: Callable[[], bool], stopping: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(comment="connected", sep="\n")
    asked = anyio.current_time()
    while not stopping.is_set():
        if anyio.current_time() - asked >= WELCOME_S:
            asked = anyio.current_time()
            if not await anyio.to_thread.run_sync(is_welcome):
                return
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
