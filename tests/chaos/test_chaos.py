"""The short version of `make chaos`: a few real kills, and everything is checked that must hold."""

from collections.abc import Iterator

import pytest

from tests.chaos import plan
from tests.chaos.campaign import Campaign, Result
from tests.chaos.house import House, opened

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def house() -> Iterator[House]:
    with opened(House("sqlite")) as house:
        yield house


def test_whatever_is_killed_nothing_is_lost_and_nothing_counts_twice(house: House) -> None:
    result = Result("sqlite", seed=0)
    campaign = Campaign(house, result)
    campaign.prepare(range(1), groups=False)
    campaign.run(plan.SHORT)
    assert result.problems == []
    assert result.rounds == len(plan.SHORT)
    assert result.jobs.keys() <= {"succeeded", "cancelled"}
    assert result.lost == 0
    assert {"api", "dispatcher", "head"} <= result.hits.keys()  # the others may find nobody at work
