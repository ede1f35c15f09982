"""The pool on a real Ray, and without one."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from service.processes import free_port
from service.settings import Settings
from workers.cluster import RayPool


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@contextmanager
def pool(settings: Settings, made: list[int], ended: list[int], told: list[int] | None = None) -> Iterator[RayPool]:
    joined = RayPool(settings, made.append, ended.append, (told if told is not None else []).append)
    try:
        yield joined
    finally:
        joined.close()


@pytest.mark.ray
def test_it_sees_the_nodes_and_keeps_learners_as_long_as_they_are_wanted(ray_address: str) -> None:
    settings = Settings(ray_address=ray_address, learner_idle_s=0.2)
    made: list[int] = []
    ended: list[int] = []
    told: list[int] = []
    with pool(settings, made, ended, told) as joined:
        until(lambda: joined.view().connected)
        (node,) = joined.view().nodes
        assert (node.cpus, node.gpus) == (4, 0)
        joined.want_learners(frozenset({3}))
        until(lambda: made)
        assert (ended, told) == ([], [])
        joined.notice_weights(frozenset({3}))
        until(lambda: told)
        joined.notice_weights(frozenset())
        joined.want_learners(frozenset())
        until(lambda: ended)
    assert set(made) == {3}
    assert (ended, told) == ([3], [3])
    assert not joined.view().connected


@pytest.mark.ray
def test_a_learner_that_cannot_be_made_is_tried_again_and_ray_is_kept(
    ray_address: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(family: int) -> None:
        raise RuntimeError(f"no learner for {family}")

    joined = RayPool(Settings(ray_address=ray_address), fails, fails)
    try:
        until(lambda: joined.view().connected)
        joined.want_learners(frozenset({3}))
        until(lambda: "no learner for 3" in caplog.text)
        assert joined.view().connected
    finally:
        joined.close()


def test_without_ray_it_says_so_and_goes_on_trying() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pool(Settings(ray_address=address), [], []) as lonely:
        until(lambda: address in (lonely.view().error or ""))
        assert not lonely.view().connected
        assert lonely.view().nodes == ()
