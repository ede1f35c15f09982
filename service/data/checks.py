"""Checks of whole arrays, a block of rows at a time: a dataset may be most of the memory there is."""

from collections.abc import Iterator

import numpy as np

from service.data.errors import DataError
from service.data.raw import Array, Place

_BLOCK = 1 << 20
_LARGEST = np.float64(np.finfo(np.float32).max)
_NUMBERS = "biuf"
_CALLED = {
    "c": "complex numbers",
    "M": "dates",
    "m": "durations",
    "U": "text",
    "S": "bytes",
    "V": "records",
    "O": "objects",
}


def blocks(rows: int, row_elements: int) -> Iterator[slice]:
    """Slices over `rows` of about a million elements each."""
    step = max(1, _BLOCK // max(1, row_elements))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def check_numbers(array: Array, place: Place, what: str) -> None:
    """Raises DataError unless every element is a number that float32 can hold; names the first that is not.

    `what` is "Inputs" or "Targets"; the first dimension of `array` is its rows.
    """
    if array.dtype.kind not in _NUMBERS:
        raise DataError(
            f"{what} must be numbers, and {place(())} holds {_CALLED.get(array.dtype.kind, str(array.dtype))}"
            f" (dtype {array.dtype}): convert it, for example to float32."
        )
    if array.dtype.kind != "f":
        return
    for rows in blocks(len(array), int(np.prod(array.shape[1:]))):
        block = array[rows]
        good = np.abs(block) <= _LARGEST  # false for NaN too
        if not good.all():
            index = tuple(int(i) for i in np.argwhere(~good)[0])
            raise DataError(_bad_number(block[index], place((index[0] + rows.start, *index[1:])), what))


def _bad_number(value: np.floating, where: str, what: str) -> str:
    if np.isnan(value):
        return f"{where} is NaN. {what} must be numbers: fill the gap in, or drop that row."
    if np.isinf(value):
        return f"{where} is {value}. {what} must be finite: replace it, or drop that row."
    return f"{where} is {value}, too large for float32 (at most 3.4e38): rescale it."
