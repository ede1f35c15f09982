"""The score ranks families as training does, on real data; and what it is where nothing can be trained."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.matching import centres, digits, learned, patches, plan_of
from tests.workers.plans import plan, regression
from tests.workers.test_train import text_plan
from warpadam import Warp
from warpadam.learn import diagonal
from workers.failures import NotFiniteError
from workers.matching import measure
from workers.matching.measure import Candidate, Score, is_better, ranked
from workers.matching.told import recommendation
from workers.tasks.data import Split


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Enough to tell families apart, in a second; on one thread, as the process that measures does it."""
    monkeypatch.setattr(measure, "STEPS", 50)
    monkeypatch.setattr(measure, "SEEDS", 2)
    monkeypatch.setattr(measure, "LADDER", (0.008, 0.016))
    monkeypatch.setattr(measure, "_FIRST_RUNG", 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def families() -> tuple[Candidate, ...]:
    given = {"digits": digits(range(5)), "patches": patches("china.jpg", 1500)}
    return tuple(Candidate(name, 1, learned(images, 1, 100)) for name, images in given.items())


@pytest.mark.parametrize("right", ["digits", "patches"])
def test_the_right_family_goes_before_the_wrong_one_and_before_none(right: str) -> None:
    images = digits(range(5, 10)) if right == "digits" else patches("flower.jpg", 1500)
    found = measure.measure(plan_of(centres(images)), families(), 5)
    (first, best), (_, wrong) = found.families
    assert (found.by, found.axes, first.family) == ("training", 2, right)
    assert best.score > wrong.score
    assert best.diagonal > wrong.diagonal
    assert is_better(best, found.none)
    assert found.data is not None
    assert found.data.diagonal > wrong.diagonal
    assert recommendation(found)["warp"] in ("family", "data")


def test_it_repeats_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "STEPS", 5)
    monkeypatch.setattr(measure, "FEWEST_STEPS", 5)
    candidate = Candidate("f", 1, Warp({"input:6": np.eye(6)[::-1]}).to_bytes())
    job = replace(plan(), seed=7)
    assert measure.measure(job, [candidate], 1) == measure.measure(job, [candidate], 1)
    assert measure.measure(job, [candidate], 1) != measure.measure(replace(job, seed=8), [candidate], 1)


def test_a_large_model_is_judged_by_its_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "BUDGET_S", 0.1)
    found = measure.measure(plan_of(centres(patches("flower.jpg", 1500))), families(), 5)
    assert (found.by, found.steps) == ("gradients", measure.GRADIENTS)
    assert [each.family for each, _ in found.families] == ["patches", "digits"]
    assert all(score == Score(score.diagonal, score.diagonal) for _, score in found.families)
    assert recommendation(found)["warp"] in ("family", "data")
    only = measure.measure(plan_of(centres(patches("flower.jpg", 1500))), families(), 1)
    assert [each.family for each, _ in only.families] == ["patches"], "those that diagonalise best"


def test_text_has_no_basis_of_its_own_and_may_have_no_family(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "BUDGET_S", 0.1)
    found = measure.measure(text_plan(), [], 5)
    assert (found.data, found.families) == (None, [])
    assert recommendation(found)["warp"] == "none"


def test_data_that_no_learning_rate_can_stand_is_told() -> None:
    split = regression()
    huge = Split(split.x_train * np.float32(1e30), split.y_train, split.x_val, split.y_val)
    with pytest.raises(NotFiniteError, match="at all learning rates"):
        measure.measure(plan(split=huge), [], 1)


def test_large_data_is_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MAX_TRAIN", 10)
    monkeypatch.setattr(measure, "MAX_VAL", 7)
    split = measure.thinned(regression())
    assert [len(part) for part in (split.x_train, split.y_train, split.x_val, split.y_val)] == [10, 10, 7, 7]
    monkeypatch.setattr(measure, "MAX_VALUES", 5 * 6)
    assert len(measure.thinned(regression()).x_train) == 5


def test_what_training_cannot_tell_apart_is_ordered_by_its_gradients() -> None:
    def named(name: str, score: float, share: float) -> tuple[Candidate, Score]:
        return Candidate(name, 1, b""), Score(score, share, 0.02, 1.0, 0.01)

    found = ranked([named("a", 0.10, 0.3), named("b", 0.08, 0.9), named("c", 0.01, 1.0)])
    assert [each.family for each, _ in found] == ["b", "a", "c"]


def moment() -> NDArray[np.float64]:
    draw = np.random.default_rng(0).normal(size=(20, 4)) * np.arange(1, 5)
    found: NDArray[np.float64] = draw.T @ draw
    return found


def test_what_a_p_takes_off_the_diagonal() -> None:
    C = moment()
    own = np.linalg.eigh(C)[1].T
    signed = np.eye(4)[[2, 0, 3, 1]] * np.array([1, -1, 1, -1])
    assert diagonal.removed({"input:4": own}, {"input:4": C}) == pytest.approx(1)
    assert diagonal.removed({"input:4": signed}, {"input:4": C}) == pytest.approx(0)
    assert diagonal.removed({"input:5": np.eye(5)}, {"input:4": C}) == 0
    assert diagonal.removed({"input:4": own}, {"input:4": C, "output:4": C}) == pytest.approx(0.5)
    assert diagonal.removed({"input:4": own}, {"input:4": np.eye(4)}) == 0  # nothing to take away
    assert diagonal.removed({"input:4": own}, {"input:4": 1e6 * C}) == pytest.approx(1)


def test_a_p_that_does_not_stay_finite_is_no_better_than_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it takes off the diagonal."""
    monkeypatch.setattr(measure, "STEPS", 5)
    monkeypatch.setattr(measure, "FEWEST_STEPS", 5)
    job = plan()
    warp = Warp({"input:6": np.eye(6)}).to_bytes()
    tune = measure._Bench._tune

    def diverging(bench: measure._Bench, given: bytes | None) -> measure._Tuned:
        if given is not None:
            raise NotFiniteError("diverged")
        return tune(bench, given)

    monkeypatch.setattr(measure._Bench, "_tune", diverging)
    ((_, score),) = measure.measure(job, [Candidate("f", 1, warp)], 1).families
    assert (score.score, score.val_loss) == (0.0, None)
