"""Checkpoints on their way: tried again, in order, bounded, and told."""

import threading

import pytest

from service.storage import Stored
from workers import uploads
from workers.reporting import Saved
from workers.uploads import MOST_WAITING, Files, Uploads


def saved(step: int, *, best: bool = False) -> Saved:
    return Saved(step, b"model", b"state", None, best)


class Flaky:
    """A storage that fails so many times, and may be held up."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.open = threading.Event()
        self.open.set()

    def __call__(self, each: Saved) -> Files:
        assert self.open.wait(20)
        if self.failures:
            self.failures -= 1
            raise OSError("no route to the storage")
        return Stored(f"checkpoints/{each.step}", "a" * 64, 1), None


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "FIRST_WAIT_S", 0.0)


def drain(made: Uploads) -> list[int]:
    steps: list[int] = []
    for _ in range(1000):
        if not made:
            return steps
        made.settle(20)
        done = made.durable()
        steps += [each.step for each, _ in done]
        made.drop(len(done))
    raise AssertionError("they never ended")


def test_a_failing_storage_ends_nothing_and_is_told_once() -> None:
    made = Uploads(Flaky(failures=3))
    made.add(saved(1))
    made.add(saved(2))
    assert drain(made) == [1, 2]
    warning, over = made.told()
    assert (warning.level, over.level) == ("warning", "info")
    assert "step 1 is not stored yet, and is tried again: no route" in warning.message
    assert "works again" in over.message
    assert made.told() == []
    made.close()


def test_a_storage_that_stays_away_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_S", 0.0)
    made = Uploads(Flaky(failures=10**6))
    made.add(saved(1))
    made.settle(20)
    assert made.durable() == []
    with pytest.raises(OSError, match="no route"):
        made.settle(20)
    made.close()


def test_what_waits_is_bounded_and_what_is_given_up_is_told() -> None:
    storage = Flaky()
    storage.open.clear()
    made = Uploads(storage)
    for step in range(1, 11):
        made.add(saved(step, best=step == 4))
    storage.open.set()
    steps = drain(made)
    assert len(steps) <= MOST_WAITING
    assert steps[0] == 1
    assert {4, 10} <= set(steps)
    told = [int(event.message.split("step ")[1].split()[0]) for event in made.told()]
    assert sorted(told + steps) == list(range(1, 11))
    made.close()
