"""One look at the database for all who listen to it: what is new is read once a tick, and handed to every listener.

Invariants:
- However many listen, one thread reads for them; a few more (`CATCH_UP`) serve those who ask for what was before. Both
  are the hub's own, so listeners take none of the threads that answer requests.
- A tick costs one read for all jobs that are listened to, and one more for each that has something new.
- A topic remembers its newest items, so what it holds in memory does not grow with its listeners, and a slow one is no
  burden: he finds the rest in the database.
- The last listener who leaves takes topic and poller with him: an idle hub is empty.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError

log = logging.getLogger(__name__)

POLL_S = 0.3
AFTER_TROUBLE_S = 2.0
WELCOME_S = 15.0
"""Between two looks at whether a listener's key still opens what it listens to."""
REMEMBERED = 256
"""Items of a topic that are kept in memory."""
CATCH_UP = 4


@dataclass(frozen=True)
class Item:
    """One event of a stream; `data` is one line of JSON. `cursor` is where a reader goes on after it."""

    id: str
    type: str
    data: str
    cursor: int
    is_last: bool = False


Read = Callable[[Mapping[str, int]], Mapping[str, Sequence[Item]]]
"""For each name the next items after its cursor, oldest first; names without any may be left out. Runs in a thread."""
Welcome = Callable[[], bool]
"""Whether a listener may go on. Runs in a thread."""


@dataclass(frozen=True)
class Source:
    """What can be listened to: `kind` names it, and all of one kind are read together."""

    kind: str
    read: Read


@dataclass
class _Topic:
    """The newest items of one name: all after the cursor `floor`, up to the cursor `position`."""

    source: Source
    name: str
    floor: int
    position: int
    items: deque[Item] = field(default_factory=deque)
    last: Item | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    listeners: int = 0

    def add(self, items: Sequence[Item]) -> None:
        for item in items:
            self.items.append(item)
            self.position = item.cursor
            self.last = item if item.is_last else None
        while len(self.items) > REMEMBERED:
            self.floor = self.items.popleft().cursor
        if items:
            self.wake()

    def wake(self) -> None:
        """Lets the listeners look again."""
        self.news.set()
        self.news = asyncio.Event()

    def begin_at(self, cursor: int) -> None:
        """The topic was begun by somebody who named a place that is not reached yet; all others listen from here."""
        self.floor = self.position = cursor
        self.items.clear()

    def after(self, cursor: int) -> list[Item] | None:
        """What comes after `cursor`; None: only the database knows."""
        if cursor < self.floor:
            return None
        return [item for item in self.items if item.cursor > cursor or item is self.last]


@dataclass
class _Guest:
    """A listener's right to be here; who asks for several with one key is asked about once."""

    key: str
    welcome: Welcome
    is_welcome: bool = True


class Hub:
    """Of one event loop."""

    def __init__(self) -> None:
        self._topics: dict[tuple[str, str], _Topic] = {}
        self._guests: dict[str, _Guest] = {}
        self._present: dict[str, int] = {}
        self._poller: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._catching_up = anyio.CapacityLimiter(CATCH_UP)
        self._polling = anyio.CapacityLimiter(1)

    @property
    def listeners(self) -> int:
        return sum(topic.listeners for topic in self._topics.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left of any listener."""
        return not self._topics and not self._guests and self._poller is None

    async def follow(
        self, source: Source, name: str, after: int, *, key: str, welcome: Welcome, stopping: anyio.Event
    ) -> AsyncGenerator[Item, None]:
        """The items of `name` after the cursor `after`, as they come, up to the last.

        Ends without it when `stopping` is set, and within `WELCOME_S` after `welcome` says no. `key` tells who listens.
        """
        with self._joined(source, name, after, _Guest(key, welcome)) as (topic, guest):
            cursor = after
            while not stopping.is_set() and guest.is_welcome:
                news = topic.news
                items = topic.after(cursor)
                if items is None:
                    items = await self._read(source, name, cursor)
                    if items is None:
                        return
                    if not items and cursor < topic.floor:
                        topic.begin_at(cursor)
                for item in items:
                    yield item
                    if item.is_last:
                        return
                    cursor = item.cursor
                if not items:
                    await _either(news, stopping)

    async def _read(self, source: Source, name: str, cursor: int) -> list[Item] | None:
        """What one listener missed; None: the database is away, and the client may come again."""
        try:
            found = await anyio.to_thread.run_sync(source.read, {name: cursor}, limiter=self._catching_up)
        except SQLAlchemyError as error:
            log.warning("a live stream ends: %s", type(error).__name__)
            return None
        return list(found.get(name, ()))

    @contextmanager
    def _joined(self, source: Source, name: str, after: int, guest: _Guest) -> Iterator[tuple[_Topic, _Guest]]:
        place = (source.kind, name)
        if place not in self._topics:
            self._topics[place] = _Topic(source, name, after, after)
            self._wanted.set()
        topic = self._topics[place]
        guest = self._guests.setdefault(guest.key, guest)
        topic.listeners += 1
        self._present[guest.key] = self._present.get(guest.key, 0) + 1
        if self._poller is None:
            self._poller = asyncio.get_running_loop().create_task(self._poll())
        try:
            yield topic, guest
        finally:
            topic.listeners -= 1
            self._present[guest.key] -= 1
            self._leave(place, guest.key)

    def _leave(self, place: tuple[str, str], key: str) -> None:
        if not self._topics[place].listeners:
            del self._topics[place]
        if not self._present[key]:
            del self._present[key], self._guests[key]
        if not self._topics and self._poller is not None:
            self._poller.cancel()
            self._poller = None

    async def _poll(self) -> None:
        asked = anyio.current_time()
        while True:
            self._wanted.clear()
            try:
                await self._look()
                if anyio.current_time() - asked >= WELCOME_S:
                    asked = anyio.current_time()
                    await self._ask_guests()
                pause = POLL_S
            except Exception as error:  # a database that is away, for all listeners at once: they wait with us
                log.warning("live streams wait: %s", type(error).__name__)
                pause = AFTER_TROUBLE_S
            # Who comes to a new topic does not wait for the next tick.
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), pause)

    async def _look(self) -> None:
        open_topics = [topic for topic in self._topics.values() if topic.last is None]
        by_kind: dict[str, list[_Topic]] = {}
        for topic in open_topics:
            by_kind.setdefault(topic.source.kind, []).append(topic)
        for topics in by_kind.values():
            cursors = {topic.name: topic.position for topic in topics}
            found = await anyio.to_thread.run_sync(topics[0].source.read, cursors, limiter=self._polling)
            for topic in (each for each in topics if each.position == cursors[each.name]):
                topic.add(found.get(topic.name, ()))

    async def _ask_guests(self) -> None:
        guests = list(self._guests.values())
        for guest in guests:
            guest.is_welcome = await anyio.to_thread.run_sync(guest.welcome, limiter=self._polling)
        if not all(guest.is_welcome for guest in guests):
            for topic in self._topics.values():
                topic.wake()


class Hubs:
    """One hub for each event loop: a server has one, tests have many."""

    def __init__(self) -> None:
        self._hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()

    def here(self) -> Hub:
        """Of the loop that runs."""
        loop = asyncio.get_running_loop()
        if loop not in self._hubs:
            self._hubs[loop] = Hub()
        return self._hubs[loop]


async def _either(news: asyncio.Event, stopping: anyio.Event) -> None:
    """Waits for one of them."""
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            await stopping.wait()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await news.wait()
        group.cancel_scope.cancel()
