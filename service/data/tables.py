"""Tables with named columns: which are targets, and the rest as one matrix of inputs. CSV and Parquet come here.

Booleans are 0 and 1. Text in an input column is refused, with the column's name: what numbers to make of it is for the
user to say. A gap is refused likewise.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.data.arrays import empty
from service.data.errors import DataError
from service.data.limits import Limits
from service.data.raw import Array, Part, Place, Raw
from service.spec import DatasetOptions

_SHOWN = 8
_MAX_NAME = 200
_MAX_LABEL = 200
"""Characters."""


def target_columns(file: str, names: Sequence[str], options: DatasetOptions) -> list[str]:
    """The target's columns, `target` where none is named. Raises DataError where one is missing, or no input left."""
    wanted = options.target or "target"
    parts = [wanted] if wanted in names else [part.strip() for part in wanted.split(",") if part.strip()]
    missing = [part for part in parts if part not in names]
    if missing and options.target is None:
        raise DataError(
            f"{file} has no column named target: say which one it is with target=NAME. Its columns: {_list(names)}."
        )
    if missing or not parts:
        raise DataError(f"{file} has no column {', '.join(map(repr, missing))}. Its columns: {_list(names)}.")
    if len(set(parts)) < len(parts):
        raise DataError(f"target names a column twice: {wanted}.")
    if len(parts) == len(names):
        raise DataError(f"{file} has no columns but its target: add at least one column of inputs.")
    return parts


def check_names(file: str, names: Sequence[str], limits: Limits) -> None:
    """Raises DataError for columns without a name, with the same name, or too many of them."""
    if len(names) > limits.max_columns:
        raise DataError(f"{file} has {len(names)} columns; at most {limits.max_columns} are accepted.")
    for number, column in enumerate(names, start=1):
        if not column.strip():
            raise DataError(
                f"Column {number} of {file} has no name. An index that pandas wrote? Write it with index=False; "
                "else name the column."
            )
        if len(column) > _MAX_NAME:
            raise DataError(f"The name of column {number} of {file} has {len(column)} characters: shorten it.")
    twice = sorted(column for column, count in Counter(names).items() if count > 1)
    if twice:
        raise DataError(f"{file} has more than one column named {_list(twice)}: give each its own name.")


@dataclass(frozen=True)
class Stream:
    """A table that is read batch by batch, as often as needed; every batch has the same types."""

    file: str
    types: dict[str, pa.DataType]
    """Column → type, in order."""
    rows: int
    batches: Callable[[Sequence[str]], Iterator[pa.Table]]
    """The batches of these columns."""


def read_table(stream: Stream, targets: Sequence[str], warnings: list[str], limits: Limits) -> Raw:
    """The table as arrays; the inputs keep their order. Raises DataError."""
    file = stream.file
    inputs = [column for column in stream.types if column not in targets]
    if stream.rows == 0:
        raise DataError(f"{file} has a header and no rows: nothing can be learned from it.")
    _refuse_text(stream, inputs)
    x = empty((stream.rows, len(inputs)), np.float64, limits)
    y = _empty_targets(stream, targets, limits)
    done = 0
    for batch in stream.batches([*inputs, *targets]):
        rows = slice(done, done + batch.num_rows)
        if rows.stop > stream.rows:
            raise DataError(f"{file} holds more rows than it says: write it again.")
        for place, column in enumerate(inputs):
            x[rows, place] = _numbers(batch[column], column, done)
        for place, column in enumerate(targets):
            y[(rows, place) if y.ndim == 2 else rows] = _target(batch[column], column, done)
        done = rows.stop
    if done < stream.rows:
        raise DataError(f"{file} holds {done} rows and says that it holds {stream.rows}: write it again.")
    part = Part(x, y, _places(file, inputs), _places(file, targets, target=True))
    return Raw("table", part, columns=list(inputs), target_columns=list(targets), warnings=warnings)


def _empty_targets(stream: Stream, targets: Sequence[str], limits: Limits) -> Array:
    """Where the targets go: labels as text of the longest one's length, or numbers, a column each where several."""
    kinds = [stream.types[column] for column in targets]
    for column, kind in zip(targets, kinds, strict=True):
        if not (is_number(kind) or is_text(kind)):
            raise DataError(f"Target column {column!r} holds {kind}: give numbers, or labels as text.")
    if any(map(is_text, kinds)):
        if len(kinds) > 1:
            raise DataError(
                f"Several targets must be numbers, and of {_list(targets)} one holds text: name one column."
            )
        return empty((stream.rows,), f"U{_longest(stream, targets[0], limits)}", limits)
    dtypes = [np.dtype(bool) if pa.types.is_boolean(kind) else _number_dtype(kind) for kind in kinds]
    shape = (stream.rows,) if len(kinds) == 1 else (stream.rows, len(kinds))
    return empty(shape, np.result_type(*dtypes), limits)


def _number_dtype(kind: pa.DataType) -> np.dtype[Any]:
    return np.dtype(np.float64 if pa.types.is_decimal(kind) else kind.to_pandas_dtype())


def _longest(stream: Stream, column: str, limits: Limits) -> int:
    """Characters of the longest label, at least one."""
    longest = 1
    for batch in stream.batches([column]):
        longest = max(longest, pc.max(pc.utf8_length(plain(batch[column], stream.file))).as_py() or 0)
        if longest > _MAX_LABEL:
            raise DataError(
                f"Target column {column!r} holds a text of {longest} characters; labels have at most {_MAX_LABEL}."
            )
    if 4 * longest * stream.rows > limits.max_bytes:
        raise DataError(f"The labels in column {column!r} are too long for so many rows: shorten them.")
    return longest


def _places(file: str, columns: Sequence[str], *, target: bool = False) -> Place:
    def place(index: tuple[int, ...]) -> str:
        if not index:
            return f"the target of {file}" if target else file
        column = columns[index[1]] if len(index) > 1 else columns[0]
        return f"{file}, column {column!r}, data row {index[0] + 1}"

    return place


def _refuse_text(stream: Stream, inputs: Sequence[str]) -> None:
    bad = [column for column in inputs if not is_number(stream.types[column])]
    if not bad:
        return
    kind = stream.types[bad[0]]
    row, value = _first_value(stream, bad[0])
    shown = "only gaps" if row is None else f"{str(value)[:60]!r} in data row {row + 1}"
    name = "text" if is_text(kind) else str(kind)
    others = f" So do {_list(bad[1:])}." if len(bad) > 1 else ""
    raise DataError(
        f"{stream.file}: column {bad[0]!r} holds {name} ({shown}).{others} Inputs must be numbers: encode the column, "
        "for example as one column of 0 and 1 per value (pandas.get_dummies), or leave it out."
    )


def _first_value(stream: Stream, column: str) -> tuple[int | None, object]:
    """Row and value of the first that is no gap."""
    done = 0
    for batch in stream.batches([column]):
        row = _first(pc.is_valid(batch[column]))
        if row is not None:
            return done + row, batch[column][row].as_py()
        done += batch.num_rows
    return None, None


def plain(column: pa.ChunkedArray, file: str) -> pa.ChunkedArray:
    """A column without the encodings that do not change what it holds: categories, views. Text in it is UTF-8.

    The values of categories are looked at first: a long one, named often, would fill the memory once it is written out.
    """
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        if is_text(kind.value_type):
            longest = max(
                (pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0 for chunk in column.chunks), default=0
            )
            if longest > 4 * _MAX_LABEL:
                raise DataError(f"{file} holds a text of {longest} bytes; labels have at most {_MAX_LABEL} characters.")
        column = column.cast(kind.value_type)
    elif types.is_string_view(kind):
        column = column.cast(pa.string())
    if is_text(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(f"{file} holds text that is not UTF-8: write it again.") from error
    return column


def is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _numbers(column: pa.ChunkedArray, name: str, before: int) -> Array:
    _refuse_gap(column, name, before)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    array: Array = column.to_numpy()
    return array


def _target(column: pa.ChunkedArray, name: str, before: int) -> Array:
    if is_number(column.type):
        return _numbers(column, name, before)
    _refuse_gap(column, name, before)
    return np.array(column.to_pylist(), dtype=np.str_)


def _refuse_gap(column: pa.ChunkedArray, name: str, before: int) -> None:
    """`before`: rows of the batches before this one."""
    if column.null_count:
        row = before + (_first(pc.is_null(column)) or 0)
        gaps = "Values are" if column.null_count > 1 else "A value is"
        raise DataError(
            f"{gaps} missing in column {name!r}, the first in data row {row + 1}: fill the gaps in, or drop those rows."
        )


def _first(mask: pa.ChunkedArray) -> int | None:
    index = pc.index(mask, True).as_py()
    return None if index < 0 else int(index)


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
