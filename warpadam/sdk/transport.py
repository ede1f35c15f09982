"""How bytes travel and time passes: one way that blocks, one for an event loop. All else is written once, over either.

Both use httpx. What `BlockingTransport` declares `async` never suspends (see `modes`).
"""

import time
from collections.abc import AsyncIterator
from typing import Protocol

import httpx
from httpx_sse import EventSource, ServerSentEvent


class Transport(Protocol):
    @property
    def blocks(self) -> bool: ...
    def build(self, method: str, path: str, **content: object) -> httpx.Request: ...
    async def send(self, request: httpx.Request) -> httpx.Response:
        """The answer's head; its content is still to be read. Raises httpx.TransportError."""
        ...

    async def read(self, answer: httpx.Response) -> bytes:
        """All of the content; the answer is closed then."""
        ...

    def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]: ...
    def events(self, answer: httpx.Response) -> AsyncIterator[ServerSentEvent]: ...
    async def end(self, answer: httpx.Response) -> None: ...
    async def sleep(self, seconds: float) -> None: ...
    async def close(self) -> None: ...


class BlockingTransport:
    blocks = True

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def build(self, method: str, path: str, **content: object) -> httpx.Request:
        return self._http.build_request(method, path, **content)  # type: ignore[arg-type]  # httpx's own keywords

    async def send(self, request: httpx.Request) -> httpx.Response:
        return self._http.send(request, stream=True)

    async def read(self, answer: httpx.Response) -> bytes:
        return answer.read()

    async def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        for piece in answer.iter_bytes():
            yield piece

    async def events(self, answer: httpx.Response) -> AsyncIterator[ServerSentEvent]:
        for event in EventSource(answer).iter_sse():
            yield event

    async def end(self, answer: httpx.Response) -> None:
        answer.close()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def close(self) -> None:
        self._http.close()


class AsyncTransport:
    blocks = False

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    def build(self, method: str, path: str, **content: object) -> httpx.Request:
        return self._http.build_request(method, path, **content)  # type: ignore[arg-type]  # httpx's own keywords

    async def send(self, request: httpx.Request) -> httpx.Response:
        return await self._http.send(request, stream=True)

    async def read(self, answer: httpx.Response) -> bytes:
        return await answer.aread()

    def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        return answer.aiter_bytes()

    def events(self, answer: httpx.Response) -> AsyncIterator[ServerSentEvent]:
        return EventSource(answer).aiter_sse()

    async def end(self, answer: httpx.Response) -> None:
        await answer.aclose()

    async def sleep(self, seconds: float) -> None:
        import anyio  # which httpx brings; asyncio and trio alike

        await anyio.sleep(seconds)

    async def close(self) -> None:
        await self._http.aclose()
