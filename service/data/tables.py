"""Tables with named columns: which are targets, and the rest as one matrix of inputs. CSV and Parquet come here.

Booleans are 0 and 1. Text in an input column is refused, with the column's name: what numbers to make of it is for the
user to say. A gap is refused likewise.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


def read_table(table: pa.Table, file: str, targets: Sequence[str], warnings: list[str]) -> Raw:
    """`table` as arrays; the inputs keep their order."""
    table = pa.table([_plain(column, file) for column in table.columns], names=table.column_names)
    inputs = [column for column in table.column_names if column not in targets]
    if table.num_rows == 0:
        raise DataError(f"{file} has a header and no rows: nothing can be learned from it.")
    _refuse_text(table, file, inputs)
    x = np.empty((table.num_rows, len(inputs)), dtype=np.float64)
    for place, column in enumerate(inputs):
        x[:, place] = _numbers(table[column], column)
    labels = [_target(table[column], column) for column in targets]
    if len(labels) > 1 and any(label.dtype.kind == "U" for label in labels):
        raise DataError(f"Several targets must be numbers, and of {_list(targets)} one holds text: name one column.")
    y = labels[0] if len(labels) == 1 else np.column_stack(labels)
    part = Part(x, y, _places(file, inputs), _places(file, targets, target=True))
    return Raw("table", part, columns=list(inputs), target_columns=list(targets), warnings=warnings)


def _places(file: str, columns: Sequence[str], *, target: bool = False) -> Place:
    def place(index: tuple[int, ...]) -> str:
        if not index:
            return f"the target of {file}" if target else file
        column = columns[index[1]] if len(index) > 1 else columns[0]
        return f"{file}, column {column!r}, data row {index[0] + 1}"

    return place


def _refuse_text(table: pa.Table, file: str, inputs: Sequence[str]) -> None:
    bad = [column for column in inputs if not _is_number(table[column].type)]
    if not bad:
        return
    first = table[bad[0]]
    row = _first(pc.is_valid(first))
    shown = "only gaps" if row is None else f"{str(first[row].as_py())[:60]!r} in data row {row + 1}"
    kind = "text" if pa.types.is_string(first.type) or pa.types.is_large_string(first.type) else str(first.type)
    others = f" So do {_list(bad[1:])}." if len(bad) > 1 else ""
    raise DataError(
        f"{file}: column {bad[0]!r} holds {kind} ({shown}).{others} Inputs must be numbers: encode the column, for "
        "example as one column of 0 and 1 per value (pandas.get_dummies), or leave it out."
    )


def _plain(column: pa.ChunkedArray, file: str) -> pa.ChunkedArray:
    """A column without the encodings that do not change what it holds: categories, views. Text in it is UTF-8."""
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    elif types.is_string_view(kind):
        column = column.cast(pa.string())
    if types.is_string(column.type) or types.is_large_string(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(f"{file} holds text that is not UTF-8: write it again.") from error
    return column


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind))


def _numbers(column: pa.ChunkedArray, name: str) -> Array:
    _refuse_gap(column, name)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    array: Array = column.to_numpy()
    return array


def _target(column: pa.ChunkedArray, name: str) -> Array:
    if _is_number(column.type):
        numbers = _numbers(column, name)
        return numbers.astype(bool) if pa.types.is_boolean(column.type) else numbers
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise DataError(f"Target column {name!r} holds {column.type}: give numbers, or labels as text.")
    _refuse_gap(column, name)
    longest = pc.max(pc.utf8_length(column)).as_py() or 0
    if longest > _MAX_LABEL:
        raise DataError(
            f"Target column {name!r} holds a text of {longest} characters; labels have at most {_MAX_LABEL}."
        )
    return np.array(column.to_pylist(), dtype=np.str_)


def _refuse_gap(column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        row = _first(pc.is_null(column)) or 0
        gaps = f"{column.null_count} values are" if column.null_count > 1 else "A value is"
        raise DataError(
            f"{gaps} missing in column {name!r}, the first in data row {row + 1}: fill the gaps in, or drop those rows."
        )


def _first(mask: pa.ChunkedArray) -> int | None:
    index = pc.index(mask, True).as_py()
    return None if index < 0 else int(index)


def _list(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
