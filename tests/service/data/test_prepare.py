"""Splits, normalisation, what targets are taken for, and the warnings."""

import numpy as np
import pytest

from service.data import DataError, inspect, load
from service.data.split import draw
from service.spec import DatasetOptions
from tests.service.data.sources import csv, npz

RNG = np.random.default_rng(0)


def test_a_draw_is_a_partition_that_its_seed_alone_decides() -> None:
    train, val = draw(1000, 0.1, 3)
    assert len(val) == 100
    assert sorted([*train, *val]) == list(range(1000))
    np.testing.assert_array_equal(draw(1000, 0.1, 3)[1], val)
    assert not np.array_equal(draw(1000, 0.1, 4)[1], val)


def test_a_draw_is_the_same_for_ever() -> None:
    """A job that is run again next year must see the same split."""
    assert draw(12, 0.25, 0)[1].tolist() == [2, 3, 11]


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.5, 5), (0.999, 9)])
def test_both_parts_have_rows(fraction: float, count: int) -> None:
    assert len(draw(10, fraction, 0)[1]) == count


def test_normalize_is_fitted_on_the_training_part_alone() -> None:
    x = RNG.normal(5, 3, (50, 4))
    x[:, 3] = 7
    source = npz(x_train=x, y_train=x[:, 0], x_val=x[:10] + 100, y_val=x[:10, 0])
    arrays = load(source, DatasetOptions(normalize="standard"), "regression")
    mean, std = x.mean(axis=0), x.std(axis=0)
    std[3] = 1
    np.testing.assert_allclose(arrays.x_train, (x - mean) / std, atol=1e-6)
    np.testing.assert_allclose(arrays.x_val, (x[:10] + 100 - mean) / std, rtol=1e-5)
    assert arrays.info.normalization is not None
    np.testing.assert_allclose(arrays.info.normalization.mean, mean)
    np.testing.assert_allclose(arrays.info.normalization.std, std)


def test_normalize_of_images_is_per_channel() -> None:
    x = RNG.integers(0, 256, (20, 3, 3, 2), dtype=np.uint8)
    arrays = load(npz(x=x, y=np.arange(20) % 2), DatasetOptions(normalize="standard"), "classification")
    np.testing.assert_allclose(arrays.x_train.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(arrays.x_train.std(axis=(0, 1, 2)), 1, atol=1e-5)


def test_normalize_keeps_small_differences_of_large_numbers() -> None:
    x = 1e8 + np.arange(64.0)[:, None]
    arrays = load(npz(x=x, y=np.arange(64.0)), DatasetOptions(normalize="standard"), "regression")
    assert len(np.unique(arrays.x_train)) == len(arrays.x_train)


@pytest.mark.parametrize(
    ("y", "kinds"),
    [
        (np.arange(100) % 5, ["classes", "values"]),
        (np.arange(100), ["values", "classes"]),
        (np.arange(100) % 2 == 0, ["classes", "values"]),
        (np.arange(100) % 5 + 0.5, ["values", "classes"]),
        (RNG.normal(size=100), ["values"]),
        (np.char.mod("c%d", np.arange(100) % 5), ["classes"]),
        (np.zeros((100, 2)), ["values"]),
    ],
)
def test_what_targets_are_taken_for(y: np.ndarray, kinds: list[str]) -> None:
    info = inspect(npz(x=RNG.normal(size=(100, 2)), y=y), DatasetOptions())
    assert info.target.kinds == kinds
    assert info.target.kind == kinds[0]
    assert (info.classes is not None) == ("classes" in kinds)
    for task, kind in (("classification", "classes"), ("regression", "values")):
        assert (info.problem(task) is None) == (kind in kinds)  # type: ignore[arg-type]


def test_a_class_that_only_validation_has_is_named() -> None:
    x = np.zeros((4, 1))
    source = npz(x_train=x, y_train=["a", "b", "a", "b"], x_val=x, y_val=["a", "z", "a", "b"])
    arrays = load(source, DatasetOptions(), "classification")
    assert any("'z'" in warning for warning in arrays.info.warnings)
    assert arrays.info.classes == ["a", "b", "z"]
    assert arrays.y_val.tolist() == [0, 2, 0, 1]


def test_inputs_far_from_one_are_mentioned() -> None:
    x = np.arange(20.0).reshape(10, 2) + 5000
    source = npz(x=x, y=np.arange(10.0))
    assert any("normalize" in warning for warning in inspect(source, DatasetOptions()).warnings)
    assert inspect(source, DatasetOptions(normalize="standard")).warnings == []


def test_a_task_that_the_data_does_not_serve_is_told() -> None:
    x = np.zeros((4, 1))
    with pytest.raises(DataError, match="regression needs numbers"):
        load(npz(x=x, y=["a", "b", "a", "b"]), DatasetOptions(), "regression")
    with pytest.raises(DataError, match="two labels that repeat"):
        load(npz(x=x, y=[0.1, 0.2, 0.3, 0.4]), DatasetOptions(), "classification")
    with pytest.raises(DataError, match=r"register a \.txt"):
        load(npz(x=x, y=[0, 1, 0, 1]), DatasetOptions(), "language_modeling")


def test_inspect_and_load_agree() -> None:
    source = npz(x=RNG.normal(size=(30, 3)), y=np.arange(30) % 3)
    assert inspect(source, DatasetOptions()) == load(source, DatasetOptions(), "classification").info


def test_columns_that_say_nothing_are_named() -> None:
    warnings = inspect(csv("a,b,c,target\n1,5,0,1\n2,5,0,2\n3,5,0,3\n"), DatasetOptions()).warnings
    assert warnings == ["The same value in every row, so nothing to learn from: input column 'b', 'c'."]
    assert inspect(npz(x=[[1, 2], [3, 4]], y=[0.1, 0.7]), DatasetOptions()).warnings == []
