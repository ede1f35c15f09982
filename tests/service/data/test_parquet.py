"""Parquet, as pandas and others write it."""

import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.data import DataError, FileSource, Limits, inspect, load
from service.spec import DatasetOptions
from tests.service.data.sources import file

OPTIONS = DatasetOptions()


def parquet(**columns: object) -> FileSource:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return file("data.parquet", buffer.getvalue())


def test_types_of_columns() -> None:
    source = parquet(
        small=pa.array([1, 2, 3, 4], pa.int8()),
        flag=[True, False, True, False],
        price=[Decimal("1.5"), Decimal("2.5"), Decimal("3.5"), Decimal("4.5")],
        target=pa.array(["x", "y", "x", "y"]).dictionary_encode(),
    )
    arrays = load(source, OPTIONS, "classification")
    assert arrays.info.columns == ["small", "flag", "price"]
    assert arrays.info.classes == ["x", "y"]
    assert [2.0, 0.0, 2.5] in [*arrays.x_train.tolist(), *arrays.x_val.tolist()]


def test_a_boolean_target_is_two_classes() -> None:
    assert inspect(parquet(a=[1, 2, 3, 4], target=[True, False, True, False]), OPTIONS).classes == [False, True]


def test_the_index_of_pandas_is_no_input() -> None:
    info = inspect(parquet(a=[1, 2], target=[1, 2], __index_level_0__=[7, 8]), OPTIONS)
    assert info.columns == ["a"]
    assert "index" in info.warnings[0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2], "b": [1, 2]}, r"target=NAME"),
        ({"a": [1, None], "target": [1, 2]}, r"missing in column 'a', the first in data row 2"),
        ({"a": [1.0, float("nan")], "target": [1, 2]}, r"column 'a', data row 2 is NaN"),
        ({"a": [[1], [2]], "target": [1, 2]}, r"column 'a' holds list"),
        ({"a": pa.array([1, 2], pa.timestamp("s")), "target": [1, 2]}, r"column 'a' holds timestamp"),
        ({"a": ["x", "y"], "target": [1, 2]}, r"column 'a' holds text"),
        ({"a": pa.nulls(2), "target": [1, 2]}, r"column 'a'"),
        ({"a": [1, 2], "target": [[1], [2]]}, r"Target column 'target' holds list"),
        ({"a": pa.array([], pa.int64()), "target": pa.array([], pa.int64())}, r"no rows"),
    ],
)
def test_every_mistake_is_told(columns: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        inspect(parquet(**columns), OPTIONS)


def test_damaged_files_are_told() -> None:
    whole = parquet(a=[1, 2], target=[1, 2]).open().read()
    for content in (b"", b"PAR1", whole[:-10], whole[:40] + bytes(20) + whole[60:]):
        with pytest.raises(DataError, match="Parquet"):
            inspect(file("data.parquet", content), OPTIONS)


def test_a_table_that_unpacks_to_too_much_is_refused() -> None:
    source = parquet(a=pa.repeat(1, 1_000_000), target=pa.repeat(1, 1_000_000))
    assert source.size < 100_000
    with pytest.raises(DataError, match="unpacks to"):
        inspect(source, OPTIONS, Limits(max_bytes=1_000_000))
