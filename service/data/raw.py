"""What every reader gives: arrays as they were in the file, not yet split, checked or converted."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from service.data.info import Kind

Array = NDArray[Any]
Place = Callable[[tuple[int, ...]], str]
"""Names an index of an array: `x_train[3, 2] (row 3, …)`, or `column 'age', data row 4`; () means all of it."""


@dataclass(frozen=True)
class Part:
    """Rows with their targets; the places name them as the user knows them."""

    x: Array
    y: Array
    x_place: Place
    y_place: Place


@dataclass(frozen=True)
class Raw:
    """`val` None: a validation part is to be drawn. Images are N,H,W,C here already; uint8 ones not yet divided."""

    kind: Kind
    train: Part
    val: Part | None = None
    columns: list[str] | None = None
    target_columns: list[str] | None = None
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RawText:
    data: bytes | Array
    """Bytes, or uint8 (bytes,)."""
    name: str


def indexed(name: str) -> Place:
    """Places of an array that has a name: `x_train[3, 2] (row 3, column 2, counted from 0)`."""

    def place(index: tuple[int, ...]) -> str:
        if not index:
            return name
        column = f", column {index[1]}" if len(index) == 2 else ""
        return f"{name}[{', '.join(map(str, index))}] (row {index[0]}{column}, counted from 0)"

    return place
