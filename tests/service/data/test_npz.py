"""`.npz` in every layout that numpy writes, and every mistake with its remedy."""

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from service.data import DataError, Limits, inspect, load
from service.spec import DatasetOptions
from tests.service.data.sources import file, npz, zipped

OPTIONS = DatasetOptions()
X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10, dtype=np.float32) / 3


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f8", "i1", "u1", "<i8", ">i4", "u8", "?", "g"])
def test_inputs_of_every_number_type_become_float32(kind: str) -> None:
    x = X.astype(kind)
    arrays = load(npz(x_train=x, y_train=Y, x_val=x, y_val=Y), OPTIONS, "regression")
    assert arrays.x_train.dtype == np.float32
    np.testing.assert_array_equal(arrays.x_train, x.astype(np.float32))


def test_fortran_order_and_strided_arrays() -> None:
    x = np.asfortranarray(np.arange(60.0).reshape(10, 6))
    arrays = load(npz(x_train=x, y_train=Y, x_val=x[::2, ::-1], y_val=Y[::2]), OPTIONS, "regression")
    np.testing.assert_array_equal(arrays.x_train, x)
    np.testing.assert_array_equal(arrays.x_val, x[::2, ::-1])


@pytest.mark.parametrize("shape", [(10,), (10, 1)])
def test_targets_of_one_column_in_either_shape(shape: tuple[int, ...]) -> None:
    labels = (np.arange(10) % 3 + 7).reshape(shape)
    arrays = load(npz(x_train=X, y_train=labels, x_val=X, y_val=labels), OPTIONS, "classification")
    assert arrays.y_train.dtype == np.int64
    np.testing.assert_array_equal(arrays.y_train, np.arange(10) % 3)
    assert arrays.info.classes == [7, 8, 9]
    values = load(npz(x_train=X, y_train=labels, x_val=X, y_val=labels), OPTIONS, "regression")
    np.testing.assert_array_equal(values.y_train, labels.reshape(10, 1))
    assert values.y_train.dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["b", "a"], ["a", "b"]),
        ([b"b", b"a"], ["a", "b"]),
        ([True, False], [False, True]),
        ([3.0, -1.0], [-1.0, 3.0]),
        (np.array([5, 2**63], dtype=np.uint64), [5, 2**63]),
    ],
)
def test_labels_of_every_type_are_sorted_into_ids(labels: Any, classes: list[object]) -> None:
    y = np.tile(np.asarray(labels), 5)
    arrays = load(npz(x_train=X, y_train=y, x_val=X, y_val=y), OPTIONS, "classification")
    assert arrays.info.classes == classes
    assert arrays.info.model_validate_json(arrays.info.model_dump_json()) == arrays.info
    np.testing.assert_array_equal(np.asarray(classes)[arrays.y_train], y.astype(np.asarray(classes).dtype))


def test_several_target_columns() -> None:
    y = np.arange(30.0).reshape(10, 3)
    arrays = load(npz(x=X, y=y), OPTIONS, "regression")
    assert arrays.y_train.shape == (9, 3)
    assert arrays.info.target.shape == [3]
    with pytest.raises(DataError, match=r"argmax"):
        load(npz(x=X, y=y), OPTIONS, "classification")


@pytest.mark.parametrize("shape", [(12, 4, 5), (12, 4, 5, 1), (12, 4, 5, 3)])
def test_uint8_images_are_divided_by_255(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    y = np.arange(12) % 2
    arrays = load(npz(x_train=x, y_train=y, x_val=x, y_val=y), OPTIONS, "classification")
    channels = shape[3] if len(shape) == 4 else 1
    assert arrays.info.kind == "images"
    assert arrays.info.input.shape == [4, 5, channels]
    np.testing.assert_allclose(arrays.x_train, x.reshape(12, 4, 5, channels) / 255, rtol=1e-6)


def test_channels_first_is_told() -> None:
    with pytest.raises(DataError, match=r"transpose\(0, 2, 3, 1\)"):
        inspect(npz(x=np.zeros((4, 3, 32, 32), dtype=np.uint8), y=[0, 1, 0, 1]), OPTIONS)


def test_arrays_that_are_not_read_are_named() -> None:
    info = inspect(npz(x_train=X, y_train=Y, x_test=X, y_test=Y), OPTIONS)
    assert "x_test" in info.warnings[0]
    assert "x_val" in info.warnings[0]
    assert (info.train, info.val) == (9, 1)


def changed(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    copy = array.astype(np.float64)
    copy[index] = value
    return copy


RAGGED = np.array([np.zeros(2), np.zeros(3)], dtype=object)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": RAGGED, "y": [0, 1]}, r"x is an object array.*numpy.stack"),
        ({"x": X, "y": np.array(["a", None] * 5, dtype=object)}, r"y is an object array.*astype\(str\)"),
        ({"x": changed(X, (3, 1), np.nan), "y": Y}, r"^x\[3, 1\] \(row 3, column 1, counted from 0\) is NaN"),
        ({"x": changed(X, (9, 0), -np.inf), "y": Y}, r"^x\[9, 0\] \(.*\) is -inf"),
        ({"x": changed(X, (0, 0), 1e300), "y": Y}, r"^x\[0, 0\] \(.*\) is 1e\+300, too large"),
        ({"x": X, "y": changed(Y, (4,), np.nan)}, r"^y\[4\] \(row 4, counted from 0\) is NaN. Targets"),
        ({"x": X, "y": changed(Y[:, None], (4, 0), np.nan)}, r"^y\[4, 0\] \(.*\) is NaN"),
        (
            {"x_train": X, "y_train": Y, "x_val": changed(X, (2, 1), np.nan), "y_val": Y},
            r"^x_val\[2, 1\] \(.*\) is NaN",
        ),
        ({"x": X, "y": Y[:9]}, r"x has 10 rows and y has 9"),
        ({"x_train": X, "y_train": Y, "x_val": X}, r"x_val without y_val"),
        ({"x_train": X, "y_train": Y, "y_val": Y}, r"y_val without x_val"),
        ({"x_train": X, "y_train": Y, "x_val": X[:0], "y_val": Y[:0]}, r"x_val has no rows"),
        ({"x_train": X, "y_train": Y, "x_val": X[:, :1], "y_val": Y}, r"same columns"),
        ({"x_train": X, "y_train": Y, "x_val": X[:, :, None], "y_val": Y}, r"same dimensions"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": ["a"] * 10}, r"same kind of labels"),
        ({"x": X, "y": Y, "x_val": X, "y_val": Y}, r"without x_train"),
        ({"x": X[:0], "y": Y[:0]}, r"no rows"),
        ({"x": X[:, :0], "y": Y}, r"rows are empty"),
        ({"x": X[:1], "y": Y[:1]}, r"at least 2"),
        ({"x": X}, r"must hold the arrays .* it holds x"),
        ({"X": X, "Y": Y}, r"lowercase"),
        ({"x": X, "y": 3.0}, r"single value"),
        ({"x": np.float32(1), "y": Y}, r"reshape"),
        ({"x": np.zeros((2, 2, 2, 2, 2)), "y": [0, 1]}, r"reshape"),
        ({"x": X, "y": np.zeros((10, 2, 2))}, r"reshape"),
        ({"x": X.astype(complex), "y": Y}, r"complex numbers"),
        ({"x": X.astype(str), "y": Y}, r"text"),
        ({"x": X.astype("M8[s]"), "y": Y}, r"dates"),
        ({"x": X, "y": ["a"] * 10}, r"at least two classes"),
        ({"x": X, "y": ["a", ""] * 5}, r"y\[1\] .* is empty"),
        ({"x": X, "y": [["a", "b"]] * 10}, r"text in 2 columns"),
        ({"x": X, "y": np.zeros((10, 0))}, r"reshape"),
        ({"x": np.zeros(10, dtype=[("a", "f4")]), "y": Y}, r"records"),
    ],
)
def test_every_mistake_is_told(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        inspect(npz(**arrays), OPTIONS)


def test_damaged_files_are_told() -> None:
    whole = npz(x=X, y=Y).open().read()
    for content in (b"", b"not a zip", whole[: len(whole) // 2]):
        with pytest.raises(DataError, match=r"numpy\.savez"):
            inspect(file("data.npz", content), OPTIONS)
    with pytest.raises(DataError, match=r"x is no readable array.*numpy\.savez"):
        inspect(zipped({"x.npy": b"not an array", "y.npy": b""}, name="data.npz"), OPTIONS)
    flipped = bytearray(whole)
    flipped[60] ^= 0xFF
    with pytest.raises(DataError):
        inspect(file("data.npz", bytes(flipped)), OPTIONS)


def test_bombs_are_refused_by_what_they_declare() -> None:
    with pytest.raises(DataError, match=r"unpacks to"):
        inspect(npz(x=np.zeros((100_000, 10)), y=np.zeros(100_000)), OPTIONS, Limits(max_bytes=1_000_000))


def test_a_header_that_promises_more_than_the_file_holds_is_refused() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**13, 9)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
        archive.writestr("y.npy", header.getvalue())
    with pytest.raises(DataError, match="no readable array"):
        inspect(file("data.npz", buffer.getvalue()), OPTIONS)
