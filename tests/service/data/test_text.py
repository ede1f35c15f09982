"""Text is bytes."""

import numpy as np
import pytest

from service.data import DataError, inspect, load
from service.spec import DatasetOptions
from tests.service.data.sources import file


@pytest.mark.parametrize("content", [bytes(range(256)) * 4, "æøå — 漢字".encode() * 50, b"\0" * 100, b"\xff\xfe" * 9])
def test_any_bytes_come_back(content: bytes) -> None:
    arrays = load(file("a.txt", content), DatasetOptions(val_fraction=0.2), "language_modeling")
    assert arrays.x_train.dtype == np.uint8
    assert arrays.x_train.tobytes() + arrays.x_val.tobytes() == content
    assert len(arrays.x_val) == round(len(content) * 0.2)
    assert arrays.info.kind == "text"
    assert arrays.info.outputs("language_modeling") == 256


@pytest.mark.parametrize("fraction", [0.0001, 0.9999])
def test_both_parts_hold_at_least_one_pair(fraction: float) -> None:
    info = inspect(file("a.txt", b"abcd"), DatasetOptions(val_fraction=fraction))
    assert (info.train, info.val) == (2, 2)


def test_mistakes_are_told() -> None:
    with pytest.raises(DataError, match="at least 4"):
        inspect(file("a.txt", b""), DatasetOptions())
    with pytest.raises(DataError, match="normalize"):
        inspect(file("a.txt", b"hello world"), DatasetOptions(normalize="standard"))
    with pytest.raises(DataError, match="language_modeling"):
        load(file("a.txt", b"hello world"), DatasetOptions(), "classification")
    assert "target" in inspect(file("a.txt", b"hello world"), DatasetOptions(target="y")).warnings[0]
