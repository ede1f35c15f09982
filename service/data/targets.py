"""What targets mean: class labels, values, or either.

Text is labels. Integers and booleans are labels that may be used as values. Floats are values, that may be used as
labels where they repeat. Labels of any type are sorted, and a label's place is its id.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.data.checks import blocks, check_numbers
from service.data.errors import DataError
from service.data.info import Label, TargetInfo, TargetKind
from service.data.raw import Array, Part

MAX_CLASSES = 10_000
_FEW = 1_000
_MAX_LABEL = 200
"""Characters of a label."""


@dataclass(frozen=True)
class Targets:
    info: TargetInfo
    labels: Array | None
    """Sorted; None where the targets cannot be classes."""
    warnings: tuple[str, ...] = ()

    @property
    def classes(self) -> list[Label] | None:
        return None if self.labels is None else self.labels.tolist()

    def ids(self, y: Array) -> Array:
        """Class ids of `y` (rows,): int64, (rows,)."""
        assert self.labels is not None
        return np.searchsorted(self.labels, y).astype(np.int64)


def values(y: Array) -> Array:
    """`y` as float32 (rows, k)."""
    return y.astype(np.float32).reshape(len(y), -1)


def tidy(part: Part) -> Part:
    """The part with targets of shape (rows,) or (rows, k > 1), bytes decoded. Raises DataError where it is none."""
    y, name = part.y, part.y_place(())
    if y.ndim not in (1, 2) or (y.ndim == 2 and y.shape[1] == 0):
        raise DataError(f"{name} has shape {y.shape}; targets are (rows,), or (rows, k) for k values each: reshape it.")
    if y.ndim == 2 and y.shape[1] == 1:
        y, column = y[:, 0], part.y_place
        part = Part(part.x, y, part.x_place, lambda index: column((*index, 0) if index else index))
    if y.dtype.kind == "S":
        try:
            y = np.char.decode(y, "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} holds bytes that are not UTF-8: give the labels as text or integers.") from error
    if y.dtype.kind == "U":
        _check_text(y, part)
    else:
        check_numbers(y, part.y_place, "Targets")
    return Part(part.x, y, part.x_place, part.y_place)


def understand(train: Part, val: Part | None) -> Targets:
    """What the tidied targets of both parts are. Raises DataError where the parts disagree, or all labels are equal."""
    if val is not None:
        _check_agree(train, val)
    parts = [train.y] if val is None else [train.y, val.y]
    width = 1 if train.y.ndim == 1 else train.y.shape[1]
    if width > 1:
        return Targets(_info(["values"], width), None)
    labels, is_text = _distinct(parts), train.y.dtype.kind == "U"
    if is_text:
        _check_encodable(labels)
    if is_text and len(labels) == 1:
        raise DataError(
            f"Every row has the same label, {str(labels[0])!r}: a classification needs at least two classes."
        )
    kinds = _kinds(sum(map(len, parts)), labels)
    warnings = ("Every target is the same value: there is nothing to learn.",) if len(labels) == 1 else ()
    return Targets(_info(kinds, 1), labels if "classes" in kinds else None, warnings)


def _distinct(parts: Sequence[Array]) -> Array:
    """The sorted values of all parts, a block at a time; of more than MAX_CLASSES only so many that this is known."""
    found = np.unique(parts[0][:1])
    for part in parts:
        for rows in blocks(len(part), max(1, part.dtype.itemsize // 8)):
            found = np.union1d(found, part[rows])
            if len(found) > MAX_CLASSES:
                return found
    return found


def _kinds(count: int, labels: Array) -> list[TargetKind]:
    """Every way in which one column of `count` targets may be used, the best first."""
    distinct, kind = len(labels), labels.dtype.kind
    if kind == "U":
        if distinct > MAX_CLASSES:
            raise DataError(
                f"The target holds more than {MAX_CLASSES} different texts; so many classes at most are accepted: "
                "is it the right column? Else merge the rare labels."
            )
        return ["classes"]
    if distinct < 2:
        return ["values"]
    repeats = distinct <= min(_FEW, max(2, count // 2))
    if kind == "f":
        whole = distinct <= MAX_CLASSES and bool((labels == np.rint(labels)).all())
        return ["values", "classes"] if repeats or whole else ["values"]
    if distinct > MAX_CLASSES:
        return ["values"]
    return ["classes", "values"] if repeats else ["values", "classes"]


def _info(kinds: list[TargetKind], width: int) -> TargetInfo:
    return TargetInfo(kind=kinds[0], kinds=kinds, shape=[width], dtype="int64" if kinds[0] == "classes" else "float32")


def _check_text(y: Array, part: Part) -> None:
    if y.ndim == 2:
        raise DataError(f"{part.y_place(())} holds text in {y.shape[1]} columns; labels are one column: pick one.")
    lengths = np.char.str_len(y)
    if (lengths == 0).any():
        where = part.y_place((int(np.argmin(lengths)),))
        raise DataError(f"{where} is empty. Every row needs a label: fill it in, or drop that row.")
    if (lengths > _MAX_LABEL).any():
        where = part.y_place((int(np.argmax(lengths)),))
        raise DataError(f"{where} has {int(lengths.max())} characters; labels have at most {_MAX_LABEL}: shorten it.")


def _check_encodable(labels: Array) -> None:
    """A numpy text can hold code points that no UTF-8 can."""
    try:
        "".join(labels.tolist()).encode()
    except ValueError as error:
        raise DataError("A label is no valid Unicode text: write the labels again, or as integers.") from error


def _check_agree(train: Part, val: Part) -> None:
    names = f"{train.y_place(())} and {val.y_place(())}"
    if train.y.shape[1:] != val.y.shape[1:]:
        raise DataError(f"{names} have shapes {train.y.shape} and {val.y.shape}: give both the same columns.")
    if (train.y.dtype.kind == "U") != (val.y.dtype.kind == "U"):
        raise DataError(f"{names} have types {train.y.dtype} and {val.y.dtype}: give both the same kind of labels.")
