"""Warm-up rises to one, cosine and linear fall towards zero, constant stays."""

from itertools import pairwise

import pytest

from workers.tasks.schedules import Schedule, factor


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_begins_at_one_without_warmup(schedule: Schedule) -> None:
    assert factor(schedule, 0, 100, 0) == 1


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_falls_to_zero_which_the_last_step_does_not_reach(schedule: Schedule) -> None:
    values = [factor(schedule, step, 50, 5) for step in range(50)]
    assert values[5] == 1
    assert all(a > b for a, b in pairwise(values[5:]))
    assert 0 < values[-1] < 0.05
    assert factor(schedule, 50, 50, 5) == pytest.approx(0, abs=1e-12)


def test_warmup_rises_linearly() -> None:
    assert [factor("constant", step, 10, 4) for step in range(6)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])


def test_a_warmup_as_long_as_the_run_is_no_error() -> None:
    assert factor("cosine", 9, 10, 10) == pytest.approx(10 / 11)
