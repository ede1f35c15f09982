"""The guard by simulation: nothing false promoted, however often one looks; what is better found; and its verdicts."""

import json

import numpy as np
import pytest

from warpadam.guard import ALPHA, BETS, CAP, compare, e_value, paired, spend

RUNS, TASKS = 600, 60


def wealths(differences: np.ndarray) -> np.ndarray:
    """(runs, tasks) -> the e-value after each task: as one sees it who looks every time."""
    cut = np.clip(differences, -1, 1)
    return np.exp(np.cumsum(np.log1p(BETS[:, None, None] * cut), axis=2)).mean(axis=0)


def test_the_simulation_is_of_the_guards_own_e_value() -> None:
    draws = np.random.default_rng(0).normal(0.1, 0.5, (1, 20))
    assert wealths(draws)[0, -1] == pytest.approx(e_value(draws[0]))


@pytest.mark.parametrize("kind", ["normal", "skewed", "signs", "heavy"])
def test_under_the_null_the_wealth_rarely_ever_reaches_one_over_alpha(kind: str) -> None:
    """Looked at after every task; means are exactly 0, the hardest null. The bound is α, 3 standard errors above."""
    rng = np.random.default_rng(1)
    shape = (RUNS, TASKS)
    draws = {
        "normal": rng.normal(0, 0.3, shape),
        "skewed": np.where(rng.random(shape) < 0.1, 0.9, -0.1),
        "signs": np.where(rng.random(shape) < 0.5, 1.0, -1.0),
        "heavy": np.clip(rng.standard_t(2, shape) * 0.2, -1, 1),
    }[kind]
    ever = (wealths(draws).max(axis=1) >= 1 / ALPHA).mean()
    assert ever <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / RUNS)


def test_a_family_that_tries_a_useless_p_again_and_again_promotes_one_with_alpha_at_most() -> None:
    """Fifty versions, each looked at after every new task: the whole life of a family, 200 times."""
    rng = np.random.default_rng(2)
    false = 0
    for _ in range(200):
        lives = wealths(rng.normal(0, 0.2, (50, 20)))
        thresholds = np.array([1 / spend(ALPHA, number) for number in range(1, 51)])
        false += bool((lives.max(axis=1) >= thresholds).any())
    assert false / 200 <= ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / 200)


def test_what_is_better_is_found_and_sooner_where_it_is_much_better() -> None:
    """A gain of 15 % with as large a spread between tasks: twenty tasks are mostly enough, forty almost always."""
    rng = np.random.default_rng(3)
    found = wealths(rng.normal(0.15, 0.15, (RUNS, 40)) / CAP) >= 1 / spend(ALPHA, 1)
    assert found[:, -1].mean() > 0.95
    assert found[:, 19].mean() > 0.5
    much = wealths(rng.normal(0.4, 0.15, (RUNS, 12)) / CAP) >= 1 / spend(ALPHA, 1)
    assert much[:, -1].mean() > 0.95


def tasks(gain: float, count: int = 60, spread: float = 0.02, seed: int = 4) -> dict[str, list[float]]:
    rng = np.random.default_rng(seed)
    return {f"ds_{index}": list(rng.normal(gain, spread, 2)) for index in range(count)}


@pytest.mark.parametrize(
    ("champion", "adamw", "verdict"),
    [
        (tasks(0.2), tasks(0.4), "promote"),
        (None, tasks(0.2), "promote"),
        (tasks(0.2), tasks(-0.2), "keep"),
        (tasks(-0.2), tasks(0.4), "keep"),
        (tasks(0.2), tasks(0.4, count=1), "undecided"),
        (tasks(0.2, count=2), tasks(0.4), "undecided"),
        ({}, {}, "undecided"),
    ],
)
def test_verdicts(champion: dict[str, list[float]] | None, adamw: dict[str, list[float]], verdict: str) -> None:
    found = compare(champion, adamw, number=1)
    assert found.verdict == verdict
    assert found.won == (verdict == "promote")
    assert json.loads(json.dumps(found.to_json()))["won"] == found.won


def test_later_candidates_need_more_and_all_of_them_spend_alpha() -> None:
    few = tasks(0.2, count=14)
    assert compare(None, few, number=1).verdict == "promote"
    assert compare(None, few, number=30).verdict == "undecided"
    assert sum(spend(ALPHA, number) for number in range(1, 10_000)) == pytest.approx(ALPHA, rel=1e-3)


def test_a_task_counts_once_and_neither_order_nor_one_huge_difference_decides() -> None:
    assert paired({"a": [0.1] * 50}).evidence == paired({"a": [0.1]}).evidence
    many = tasks(0.1)
    assert paired(many) == paired(dict(reversed(many.items())))
    assert paired({"a": [float("inf")]}).evidence < 2
    assert e_value(np.ones(10_000)) == pytest.approx(1e300)
    with pytest.raises(ValueError, match="ds_1: a difference of losses is not a number"):
        paired({"ds_1": [float("nan")]})
    with pytest.raises(ValueError, match="from 1"):
        compare(None, {}, number=0)
