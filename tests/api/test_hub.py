"""The hub: many listeners cost one reader, miss nothing, see nothing twice, and leave nothing behind."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio
import pytest
from sqlalchemy.exc import OperationalError

from api import hub
from api.hub import Hub, Item, Source

LISTENERS = 200


@dataclass
class Table:
    """Items by name, and who read them."""

    items: dict[str, list[Item]] = field(default_factory=dict)
    reads: int = 0
    at_once: int = 0
    most_at_once: int = 0
    threads: set[int] = field(default_factory=set)
    failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, count: int = 1, *, last: bool = False) -> None:
        known = self.items.setdefault(name, [])
        for _ in range(count):
            place = len(known) + 1
            known.append(Item(str(place), "progress", "{}", place))
        if last:
            known.append(Item("end", "end", "{}", len(known) + 1, is_last=True))

    def read(self, cursors: Mapping[str, int]) -> dict[str, list[Item]]:
        with self.lock:
            self.reads += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.threads.add(threading.get_ident())
        try:
            if self.failures:
                self.failures -= 1
                raise OperationalError("SELECT", {}, Exception("away"))
            found = {name: list(self.items.get(name, ())) for name in cursors}
            return {name: [i for i in found[name] if i.cursor > cursors[name]][:50] for name in cursors}
        finally:
            with self.lock:
                self.at_once -= 1


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "POLL_S", 0.01)
    monkeypatch.setattr(hub, "AFTER_TROUBLE_S", 0.01)


async def collect(
    of: Hub, table: Table, name: str, after: int = 0, *, seen: list[str] | None = None, **how: object
) -> list[str]:
    ids: list[str] = [] if seen is None else seen
    given = {"key": "k", "welcome": lambda: True, "stopping": anyio.Event(), **how}
    items = of.follow(Source("test", table.read), name, after, **given)  # type: ignore[arg-type]
    async with aclosing(items):
        async for item in items:
            ids.append(item.id)
    return ids


async def until(is_so: Callable[[], object]) -> None:
    with anyio.fail_after(20):
        while not is_so():  # noqa: ASYNC110 - the hub tells nobody how many listen
            await anyio.sleep(0.005)


def test_two_hundred_listeners_cost_one_reader_and_starve_nobody() -> None:
    async def main() -> None:
        of, table = Hub(), Table()
        tasks_before = len(asyncio.all_tasks())
        seen: list[list[str]] = [[] for _ in range(LISTENERS)]
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for place in range(LISTENERS):
                    group.start_soon(lambda p=place: collect(of, table, f"job{p % 4}", seen=seen[p]))  # type: ignore[misc]
                await until(lambda: of.listeners == LISTENERS)
                before = table.reads
                for job in range(4):
                    table.add(f"job{job}", 10)
                await until(lambda: all(len(each) == 10 for each in seen))
                looks = table.reads - before
                # Others still get threads at once: none of the listeners holds one.
                assert anyio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
                for job in range(4):
                    table.add(f"job{job}", last=True)
        wanted = [str(place) for place in range(1, 12)] + ["end"]
        assert seen == [wanted] * LISTENERS
        assert looks < LISTENERS / 4
        assert table.most_at_once <= 1 + hub.CATCH_UP
        assert of.is_idle
        await until(lambda: len(asyncio.all_tasks()) <= tasks_before)

    anyio.run(main)


def test_late_listeners_get_all_from_where_they_ask() -> None:
    """More than the hub remembers, asked for from several places, while it grows."""

    async def main() -> None:
        of, table = Hub(), Table()
        table.add("job", 400)
        found: dict[int, list[str]] = {after: [] for after in (0, 399, 120, 1, 380)}
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for after, seen in found.items():
                    group.start_soon(lambda a=after, s=seen: collect(of, table, "job", a, seen=s))  # type: ignore[misc]
                    table.add("job", 60)
                    await until(lambda s=seen: s)  # type: ignore[misc]
                table.add("job", last=True)
        ids = [item.id for item in table.items["job"]]
        assert {after: seen == ids[after:] for after, seen in found.items()} == dict.fromkeys(found, True)

    anyio.run(main)


def test_who_names_a_place_that_is_not_there_harms_nobody() -> None:
    async def main() -> None:
        of, table = Hub(), Table()
        bogus: list[str] = []
        seen: list[str] = []
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: collect(of, table, "job", 10**17, seen=bogus))
                await until(lambda: of.listeners == 1)
                group.start_soon(lambda: collect(of, table, "job", 0, seen=seen))
                await until(lambda: of.listeners == 2)
                table.add("job", 3)
                await until(lambda: len(seen) == 3)
                table.add("job", last=True)
        assert seen == ["1", "2", "3", "4", "end"]
        assert bogus == ["end"]

    anyio.run(main)


def test_a_listener_who_goes_away_leaves_nothing_behind() -> None:
    async def main() -> None:
        of, table = Hub(), Table()
        tasks = len(asyncio.all_tasks())
        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(collect, of, table, "job")
                await until(lambda: of.listeners == 20)
                group.cancel_scope.cancel()
            assert of.is_idle
            assert of.listeners == 0
            await until(lambda: len(asyncio.all_tasks()) <= tasks)
            reads = table.reads
            await anyio.sleep(0.05)
            assert table.reads - reads <= 1

    anyio.run(main)


def test_it_ends_for_whom_is_not_welcome_any_more_and_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "WELCOME_S", 0.0)

    async def main() -> None:
        of, table, stopping, asked = Hub(), Table(), anyio.Event(), []
        revoked = threading.Event()

        def welcome() -> bool:
            asked.append(1)
            return not revoked.is_set()

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(lambda: collect(of, table, "job", key="bad", welcome=welcome))
                group.start_soon(lambda: collect(of, table, "job", key="good", stopping=stopping))
                await until(lambda: of.listeners == 6 and asked)
                revoked.set()
                await until(lambda: of.listeners == 1)
                stopping.set()
        assert of.is_idle

    anyio.run(main)


def test_a_database_that_is_away_is_waited_for() -> None:
    async def main() -> None:
        of, table = Hub(), Table(failures=3)
        table.add("job", 2, last=True)
        with anyio.fail_after(30):
            assert await collect(of, table, "job") == ["1", "2", "end"]

    anyio.run(main)
