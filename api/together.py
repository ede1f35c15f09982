"""Reads that are answered together: what many ask for at the same moment costs one trip to a thread and the database.

A read begins after it was asked for, so whoever has written something sees it. While one batch is read the next one
gathers; alone, a read waits for nobody. Where the read of a batch fails, all that it was for fail with the same error.
"""

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST = 64
"""Of one batch: the last of a crowd waits no longer than that takes."""
AT_ONCE = 2
"""Batches that are read at the same time, so that a slow one does not hold up all others."""
SLOW_S = 0.01
"""A batch that is read for longer is slow. Until then the next gathers: few large ones cost less than many small."""


class _Gathering(Generic[K, V]):
    """Of one event loop."""

    def __init__(self, read: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        self._read = read
        self._wanted: list[tuple[K, asyncio.Future[V | None]]] = []
        self._working = 0
        self._began = 0.0
        """When the newest batch was begun, by the loop's clock."""
        self._relief: asyncio.TimerHandle | None = None
        self._readers: set[asyncio.Task[None]] = set()
        """Kept so that they are not collected while they run."""
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def get(self, key: K) -> V | None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[V | None] = loop.create_future()
        self._wanted.append((key, future))
        if not self._working:
            self._begin()
        elif self._relief is None and self._working < AT_ONCE:
            self._relief = loop.call_later(SLOW_S, self._relieve)
        return await future

    def _begin(self) -> None:
        """It runs after all that is ready now, so that what arrived at the same moment goes together."""
        self._working += 1
        reader = asyncio.get_running_loop().create_task(self._work())
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)

    def _relieve(self) -> None:
        """Begins another batch beside one that is slow; looks again while there is none, and somebody waits."""
        self._relief = None
        if not self._wanted or self._working >= AT_ONCE:
            return
        loop = asyncio.get_running_loop()
        left = self._began + SLOW_S - loop.time()
        if left > 0:
            self._relief = loop.call_later(left, self._relieve)
        else:
            self._begin()

    async def _work(self) -> None:
        try:
            while self._wanted:
                batch, self._wanted = self._wanted[:MOST], self._wanted[MOST:]
                self._began = asyncio.get_running_loop().time()
                await self._answer(batch)
        finally:
            # Not later: whoever asks from now on must see that nobody works any more.
            self._working -= 1

    async def _answer(self, batch: list[tuple[K, asyncio.Future[V | None]]]) -> None:
        waiting = [(key, future) for key, future in batch if not future.done()]
        try:
            found = await anyio.to_thread.run_sync(self._read, [key for key, _ in waiting], limiter=self._limiter)
        except BaseException as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for key, future in waiting:
                if not future.done():
                    future.set_result(found.get(key))


class Together(Generic[K, V]):
    """`read` gets keys and gives what there is of each; it runs in a thread."""

    def __init__(self, read: Callable[[Sequence[K]], Mapping[K, V]]) -> None:
        self._read = read
        self._by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, _Gathering[K, V]] = WeakKeyDictionary()

    async def get(self, key: K) -> V | None:
        """What there is of `key`; None: nothing."""
        loop = asyncio.get_running_loop()
        gathering = self._by_loop.get(loop)
        if gathering is None:
            gathering = self._by_loop[loop] = _Gathering(self._read)
        return await gathering.get(key)
