"""Server-sent events: what a reader of the database would see, as it comes.

What is new comes from the process's hub (api/hub.py), which reads the database: so a stream survives any other process,
needs no broker, and a reconnecting client goes on after the last id that it saw. It ends with the job's `end`, when the
client goes away or takes nothing any more, and when the server shuts down (sse-starlette watches these). A listener
whose key was revoked meanwhile is sent away.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.hub import Hubs, Source, Welcome
from api.problems import Json

HEARTBEAT_S = 15
STUCK_S = 60.0
"""A client that takes nothing for so long is gone."""
GRACE_S = 1
"""Seconds that a stream gets to end properly when the server shuts down."""


ANSWERS: dict[int | str, Json] = {
    200: {
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": ": connected\nid: evt_01kq3v5n8w6y2d4f7h9k1m3p5r\nevent: job.state\ndata: {…}\n\n",
            }
        }
    },
    204: {"description": "Of a stream: the client has seen its end."},
}
"""`responses` of a route that streams where that is asked for."""


def wants_stream(request: Request) -> bool:
    """Whether the client asked for a live stream instead of a list."""
    return "text/event-stream" in request.headers.get("accept", "")


WantsStream = Annotated[bool, Depends(wants_stream)]


def finished() -> Response:
    """What a client gets that comes back after the end: a browser's EventSource tries again for ever otherwise."""
    return Response(status_code=204)


@dataclass(frozen=True)
class Listener:
    """Who listens: `key` is the same for all that one key opened, `welcome` whether it still opens."""

    key: str = ""
    welcome: Welcome = lambda: True


def stream(hubs: Hubs, source: Source, name: str, after: int, listener: Listener) -> EventSourceResponse:
    """Streams what `source` has of `name` from the cursor `after` on, up to its last item."""
    stopping = anyio.Event()
    return EventSourceResponse(
        _events(hubs, source, name, after, listener, stopping),
        ping=HEARTBEAT_S,
        ping_message_factory=_heartbeat,
        sep="\n",
        send_timeout=STUCK_S,
        shutdown_event=stopping,
        shutdown_grace_period=GRACE_S,
    )


async def _events(
    hubs: Hubs, source: Source, name: str, after: int, listener: Listener, stopping: anyio.Event
) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(comment="connected", sep="\n")
    items = hubs.here().follow(source, name, after, key=listener.key, welcome=listener.welcome, stopping=stopping)
    async with aclosing(items):
        async for item in items:
            yield ServerSentEvent(data=item.data, event=item.type, id=item.id, sep="\n")


def _heartbeat() -> ServerSentEvent:
    return ServerSentEvent(comment="heartbeat", sep="\n")
