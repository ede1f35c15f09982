"""The rule that moves a start: the plain average, robust shares, and what is no weight."""

import numpy as np
import pytest

from warpadam.learn.packed import Packed, pack
from warpadam.learn.starts import LEAST, Move, StartError, Weights, distance, grow, precision, shares
from warpadam.shapes import AxisKeys

BASE: Weights = {"w": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), "b": np.zeros(2, np.float32)}


def moved(by: float, base: Weights = BASE) -> Weights:
    return {name: (array + by).astype(array.dtype) for name, array in base.items()}


def moves(finals: list[Weights], weights: list[float] | None = None) -> list[Move]:
    return [Move(w, 1.0, BASE, final) for w, final in zip(weights or [1.0] * len(finals), finals, strict=True)]


def test_one_round_with_step_1_is_the_plain_average() -> None:
    finals = [moved(0.1), moved(0.2), moved(0.6)]
    grown = grow(BASE, moves(finals), 1.0)
    for name in BASE:
        np.testing.assert_allclose(grown[name], np.mean([final[name] for final in finals], axis=0), rtol=1e-6)
        assert grown[name].dtype == np.float32


def test_a_step_moves_part_of_the_way_and_weights_count() -> None:
    grown = grow(BASE, moves([moved(1.0), moved(4.0)], [2.0, 1.0]), 0.5)
    np.testing.assert_allclose(grown["b"], [1.0, 1.0], rtol=1e-6)


def test_a_later_round_adds_moves_to_its_base() -> None:
    began, final = moved(0.3), moved(0.5)
    grown = grow(moved(1.0), [Move(1.0, 1.0, began, final)], 1.0)
    np.testing.assert_allclose(grown["b"], [1.2, 1.2], rtol=1e-6)


def test_nobody_moves_it_nowhere() -> None:
    assert grow(BASE, [], 1.0) == dict(BASE)


def test_counters_come_from_the_heaviest_and_variances_stay_positive() -> None:
    base = {**BASE, "bn.num_batches_tracked": np.array(3), "bn.running_var": np.array([0.1], np.float32)}
    light = {**base, "bn.num_batches_tracked": np.array(5), "bn.running_var": np.array([0.0], np.float32)}
    heavy = {**light, "bn.num_batches_tracked": np.array(9)}
    far = {**base, "bn.running_var": np.array([5.0], np.float32)}
    grown = grow(base, [Move(1.0, 1.0, far, light), Move(2.0, 1.0, far, heavy)], 1.0)
    assert grown["bn.num_batches_tracked"] == 9
    assert grown["bn.running_var"] == 0


def test_long_moves_are_shortened_to_twice_the_median() -> None:
    assert [scale for _, scale in shares([10] * 4, [1.0, 1.0, 1.0, 8.0])] == [1.0, 1.0, 1.0, 0.25]
    assert [scale for _, scale in shares([10, 10], [1.0, 8.0])] == [1.0, 1.0]  # no median to speak of


def test_no_contributor_has_more_than_its_share() -> None:
    weights = [weight for weight, _ in shares([300, 1, 1, 1, 1, 1], [1.0] * 6)]
    assert max(weights) <= 0.25 * sum(weights) + 1e-12
    assert [weight for weight, _ in shares([5000, 100], [1.0, 1.0])] == [300, 100]


def test_distance_is_over_all_tensors() -> None:
    assert distance(BASE, moved(0.5)) == pytest.approx(0.5 * np.sqrt(6))


@pytest.mark.parametrize(
    ("final", "code"),
    [
        ({"w": BASE["w"]}, "shape"),
        ({**BASE, "extra": BASE["b"]}, "shape"),
        ({**BASE, "b": np.zeros(3, np.float32)}, "shape"),
        ({**BASE, "b": np.array([np.nan, 0], np.float32)}, "not_finite"),
    ],
)
def test_weights_that_do_not_count(final: Weights, code: str) -> None:
    with pytest.raises(StartError) as told:
        distance(BASE, final)
    assert told.value.code == code


KEYS: AxisKeys = {"layers.0.weight": ("param:layers.0.weight:0:2@a", "input:3"), "head.weight": (None, "input:3")}
ZEROS: Weights = {
    "layers.0.weight": np.zeros((2, 3), np.float32),
    "layers.0.bias": np.zeros(2, np.float32),
    "head.weight": np.zeros((1, 3), np.float32),
    "norm.weight": np.zeros(3, np.float32),
}


def saw(outputs: list[float], inputs: list[float]) -> dict[str, Packed]:
    """Sums whose matrices have these diagonals, and something beside them."""
    found = {}
    for key, diagonal in (("param:layers.0.weight:0:2@a", outputs), ("input:3", inputs)):
        matrix = np.full((len(diagonal), len(diagonal)), 0.01)
        np.fill_diagonal(matrix, diagonal)
        found[key] = pack(matrix)
    return found


def test_a_precision_is_the_product_of_its_axes_shares_and_a_bias_goes_with_its_outputs() -> None:
    found = precision(saw([3.0, 1.0], [0.5, 1.0, 1.5]), KEYS, ZEROS)
    assert found.keys() == {"layers.0.weight", "layers.0.bias", "head.weight"}
    np.testing.assert_allclose(found["layers.0.weight"], np.outer([1.5, 0.5], [0.5, 1.0, 1.5]), rtol=1e-6)
    np.testing.assert_allclose(found["layers.0.bias"], [1.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(found["head.weight"], [[0.5, 1.0, 1.5]], rtol=1e-6)


def test_a_precision_is_bounded_and_says_nothing_where_nothing_was_seen() -> None:
    found = precision(saw([1.0, 0.0], [1.0, 1.0, 1.0]), KEYS, ZEROS)
    assert found["layers.0.weight"].min() == LEAST
    nothing = {key: np.zeros_like(packed) for key, packed in saw([1.0, 1.0], [1.0] * 3).items()}
    assert all((each == 1.0).all() for each in precision(nothing, KEYS, ZEROS).values())
    assert precision({}, KEYS, ZEROS) == {}


def test_tied_weights_stay_one() -> None:
    keys: AxisKeys = {"tokens.weight": ("tokens.in:2", None), "head.weight": ("tokens.out:2", None)}
    sums = {"tokens.in:2": pack(np.diag([1.0, 3.0])), "tokens.out:2": pack(np.diag([3.0, 1.0]))}
    table, other = np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)
    tied = precision(sums, keys, {"tokens.weight": table, "head.weight": table})
    np.testing.assert_array_equal(tied["tokens.weight"], tied["head.weight"])
    apart = precision(sums, keys, {"tokens.weight": table, "head.weight": other})
    assert (apart["tokens.weight"] != apart["head.weight"]).all()


def test_a_kernels_taps_are_one_axis() -> None:
    keys: AxisKeys = {"convs.0.weight": (None, None, "taps:4")}
    sums = {"taps:4": pack(np.diag([1.0, 2.0, 3.0, 2.0]))}
    found = precision(sums, keys, {"convs.0.weight": np.zeros((5, 1, 2, 2), np.float32)})
    np.testing.assert_allclose(found["convs.0.weight"][4, 0], [[0.5, 1.0], [1.5, 1.0]], rtol=1e-6)


def test_who_knows_a_coordinate_decides_it() -> None:
    learned, idle = moved(1.0), BASE
    sure = {"b": np.array([100.0, 1.0])}
    grown = grow(BASE, [Move(1.0, 1.0, BASE, learned, sure), Move(1.0, 1.0, BASE, idle, {"b": np.ones(2)})], 1.0)
    np.testing.assert_allclose(grown["b"], [100 / 101, 0.5], rtol=1e-6)
    np.testing.assert_allclose(grown["w"], BASE["w"] + 0.5, rtol=1e-6)  # no precision: the plain average
