"""The short version of `make chaos`: a few real kills, and everything is checked that must hold."""

from collections.abc import Iterator

import pytest

from tests.chaos import plan
from tests.chaos.campaign import Campaign, Result
from tests.chaos.house import House

SEED = 20260
pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def house() -> Iterator[House]:
    opened = House("sqlite").open()
    left = ["its end was not reached"]
    try:
        yield opened
    finally:
        left = opened.close()
        opened.remove()
    assert left == []


def test_whatever_is_killed_nothing_is_lost_and_nothing_counts_twice(house: House) -> None:
    result = Result("sqlite", SEED)
    campaign = Campaign(house, result, group_every=0)
    campaign.prepare(range(1), groups=False)
    rounds = plan.make(SEED, len(plan.SHORT), plan.SHORT, jobs=2, together=0.4)
    campaign.run(rounds)
    assert result.problems == []
    assert result.rounds == len(rounds)
    assert result.jobs.keys() <= {"succeeded", "cancelled"}
    assert sum(result.hits.values()) >= len(rounds) - 2  # a blow may find nobody at work
