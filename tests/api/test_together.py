"""Reads that are answered together: one trip for those of the same moment, nobody is forgotten, errors reach all."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from api.together import AT_ONCE, MOST, Together


def test_what_is_asked_at_the_same_moment_is_read_once() -> None:
    batches: list[list[int]] = []

    def read(keys: Sequence[int]) -> dict[int, int]:
        batches.append(list(keys))
        return {key: key * 2 for key in keys if key != 3}

    async def ask() -> list[int | None]:
        together = Together(read)
        return await asyncio.gather(*(together.get(key) for key in (1, 2, 3, 2)))

    assert asyncio.run(ask()) == [2, 4, None, 4]
    assert batches == [[1, 2, 3, 2]]


def test_a_crowd_is_answered_in_several_batches() -> None:
    sizes: list[int] = []

    def read(keys: Sequence[int]) -> dict[int, int]:
        sizes.append(len(keys))
        return {key: key for key in keys}

    async def ask() -> list[int | None]:
        together = Together(read)
        return await asyncio.gather(*(together.get(key) for key in range(3 * MOST)))

    assert asyncio.run(ask()) == list(range(3 * MOST))
    assert max(sizes) <= MOST


def test_who_asks_again_and_again_is_always_answered() -> None:
    """The moment in which the last reader ends is where one could be forgotten."""

    async def ask() -> int:
        together: Together[int, int] = Together(lambda keys: {key: key for key in keys})

        async def one(start: int) -> int:
            return sum([await together.get(start + n) or 0 for n in range(50)])

        return sum(await asyncio.wait_for(asyncio.gather(*(one(n) for n in range(8))), 60))

    assert asyncio.run(ask()) == sum(start + n for start in range(8) for n in range(50))


def test_what_arrives_while_one_batch_is_read_goes_into_the_next() -> None:
    gate, begun, batches = threading.Event(), threading.Event(), []

    def read(keys: Sequence[int]) -> dict[int, int]:
        batches.append(list(keys))
        begun.set()
        if 0 in keys:
            gate.wait(30)
        return {key: key for key in keys}

    async def ask() -> None:
        together = Together(read)
        slow = [asyncio.create_task(together.get(0))]
        await asyncio.to_thread(begun.wait, 30)
        assert await together.get(1) == 1  # a slow batch does not hold up the others
        gate.set()
        await slow[0]

    assert AT_ONCE > 1
    asyncio.run(ask())
    assert batches == [[0], [1]]


def test_an_error_reaches_all_and_the_next_read_works() -> None:
    broken = [True]

    def read(keys: Sequence[int]) -> dict[int, int]:
        if broken.pop() if broken else False:
            raise ValueError("away")
        return {key: key for key in keys}

    async def ask() -> None:
        together = Together(read)
        found = await asyncio.gather(together.get(1), together.get(2), return_exceptions=True)
        assert [type(each) for each in found] == [ValueError, ValueError]
        assert await together.get(1) == 1

    asyncio.run(ask())


def test_who_goes_away_leaves_nothing_behind() -> None:
    read_keys: list[int] = []

    def read(keys: Sequence[int]) -> dict[int, int]:
        read_keys.extend(keys)
        return {key: key for key in keys}

    async def ask() -> None:
        together = Together(read)
        gone = asyncio.create_task(together.get(7))
        await asyncio.sleep(0)
        gone.cancel()
        assert await together.get(8) == 8
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(ask())
    assert 8 in read_keys
