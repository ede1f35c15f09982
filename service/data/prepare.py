"""Rows of a table or images: checked, split, and on demand converted to what training gets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.data.arrays import empty
from service.data.checks import blocks, check_numbers
from service.data.errors import DataError
from service.data.info import Arrays, DatasetInfo, InputInfo, Kind, Normalization
from service.data.limits import Limits
from service.data.raw import Array, Part, Raw
from service.data.split import Rows, draw
from service.data.targets import Targets, tidy, understand, values
from service.spec import DatasetOptions, Format, Task


@dataclass(frozen=True)
class Subset:
    """Some rows of a part, all where `rows` is None."""

    part: Part
    rows: Rows | None

    @property
    def count(self) -> int:
        return len(self.part.x) if self.rows is None else len(self.rows)

    @property
    def targets(self) -> Array:
        return self.part.y if self.rows is None else self.part.y[self.rows]

    def targets_in(self, block: slice) -> Array:
        return self.part.y[block] if self.rows is None else self.part.y[self.rows[block]]

    def inputs(self, block: slice) -> Array:
        return self.part.x[block] if self.rows is None else self.part.x[self.rows[block]]


@dataclass(frozen=True)
class Scaling:
    """From the file's numbers to the model's: `x * factor`, then normalised."""

    factor: float
    normalization: Normalization | None

    def apply(self, subset: Subset, limits: Limits) -> NDArray[np.float32]:
        row = subset.part.x.shape[1:]
        out = empty((subset.count, *row), np.float32, limits)
        for block in blocks(subset.count, int(np.prod(row))):
            if self.normalization is None:
                np.multiply(subset.inputs(block), self.factor, out=out[block], dtype=np.float32, casting="unsafe")
                continue
            # In float64: a column may differ by little around a large mean.
            wide = subset.inputs(block).astype(np.float64) * self.factor
            out[block] = (wide - self.normalization.mean) / self.normalization.std
        return out


@dataclass(frozen=True)
class Prepared:
    info: DatasetInfo
    train: Subset
    val: Subset
    scaling: Scaling
    targets: Targets

    def arrays(self, task: Task, limits: Limits) -> Arrays:
        """The arrays for a task that the info serves."""
        return Arrays(
            x_train=self.scaling.apply(self.train, limits),
            y_train=self._targets(self.train, task, limits),
            x_val=self.scaling.apply(self.val, limits),
            y_val=self._targets(self.val, task, limits),
            info=self.info,
        )

    def _targets(self, subset: Subset, task: Task, limits: Limits) -> Array:
        """Class ids int64 (rows,), or values float32 (rows, k)."""
        is_classes = task == "classification"
        width = int(np.prod(subset.part.y.shape[1:]))
        out = empty((subset.count,) if is_classes else (subset.count, width), "i8" if is_classes else "f4", limits)
        for block in blocks(subset.count, width):
            chosen = subset.targets_in(block)
            out[block] = self.targets.ids(chosen) if is_classes else values(chosen)
        return out


def prepare(raw: Raw, options: DatasetOptions, form: Format | None, size: int) -> Prepared:
    """Checks everything and splits. Raises DataError."""
    train, val = _checked(raw.train), None if raw.val is None else _checked(raw.val)
    if val is not None and train.x.shape[1:] != val.x.shape[1:]:
        raise DataError(
            f"{train.x_place(())} and {val.x_place(())} have rows of shapes {train.x.shape[1:]} and {val.x.shape[1:]}: "
            "give both the same columns."
        )
    targets = understand(train, val)
    if val is None:
        rows, held_out = draw(len(train.x), options.val_fraction, options.split_seed)
        subsets = Subset(train, rows), Subset(train, held_out)
    else:
        subsets = Subset(train, None), Subset(val, None)
    factor = 1 / 255 if raw.kind == "images" and train.x.dtype == np.uint8 else 1.0
    normalization = _fit(subsets[0], factor) if options.normalize == "standard" else None
    info = DatasetInfo(
        kind=raw.kind,
        format=form,
        train=subsets[0].count,
        val=subsets[1].count,
        input=InputInfo(shape=list(train.x.shape[1:]), dtype="float32"),
        target=targets.info,
        classes=targets.classes,
        columns=raw.columns,
        target_columns=raw.target_columns,
        normalization=normalization,
        size_bytes=size,
        warnings=[
            *raw.warnings,
            *targets.warnings,
            *_range_warnings(raw.kind, train.x, normalization),
            *_constant_warnings(raw, train.x),
            *_unseen(targets, subsets[0], subsets[1], drawn=val is None),
        ],
    )
    return Prepared(info, *subsets, Scaling(factor, normalization), targets)


def _checked(part: Part) -> Part:
    x_name, y_name = part.x_place(()), part.y_place(())
    if part.y.ndim == 0:
        raise DataError(f"{y_name} is a single value; give one target per row of {x_name}.")
    if len(part.x) != len(part.y):
        raise DataError(f"{x_name} has {len(part.x)} rows and {y_name} has {len(part.y)}: give one target per row.")
    if len(part.x) == 0:
        raise DataError(f"{x_name} has no rows: nothing can be learned from it.")
    if part.x.size == 0:
        raise DataError(f"{x_name} has shape {part.x.shape}, so its rows are empty: give at least one input column.")
    check_numbers(part.x, part.x_place, "Inputs")
    return tidy(part)


def _fit(train: Subset, factor: float) -> Normalization:
    """Mean and deviation over the training part, per last dimension; a constant column is only shifted."""
    last = train.part.x.shape[-1]
    elements = int(np.prod(train.part.x.shape[1:]))
    total, square = np.zeros(last), np.zeros(last)
    for block in blocks(train.count, elements):
        total += train.inputs(block).astype(np.float64).reshape(-1, last).sum(axis=0)
    per_column = train.count * elements // last
    mean = total / per_column
    for block in blocks(train.count, elements):
        square += ((train.inputs(block).astype(np.float64).reshape(-1, last) - mean) ** 2).sum(axis=0)
    std = np.sqrt(square / per_column)
    std[std <= 1e-12 * np.abs(mean)] = 1 / factor
    return Normalization(mean=(mean * factor).tolist(), std=(std * factor).tolist())


def _range_warnings(kind: Kind, x: Array, normalization: Normalization | None) -> list[str]:
    if normalization is not None:
        return []
    largest = _largest(x)
    if kind == "table" and largest > 100:
        return [f"Inputs reach {largest:.4g} and are used as they are: normalize: standard would help training."]
    if kind == "images" and x.dtype != np.uint8 and largest > 16:
        return [
            f"Image values reach {largest:.4g} and are used as they are, for only uint8 is divided by 255: "
            "give uint8, or register with normalize: standard."
        ]
    return []


def _constant_warnings(raw: Raw, x: Array) -> list[str]:
    """Names the columns of a table that say nothing: the same value in every row."""
    if raw.kind != "table":
        return []
    same = np.ones(x.shape[1], dtype=bool)
    for block in blocks(len(x), x.shape[1]):
        same &= (x[block] == x[0]).all(axis=0)
        if not same.any():
            return []
    names = [repr(raw.columns[place]) if raw.columns else str(place) for place in np.flatnonzero(same)]
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"The same value in every row, so nothing to learn from: input column {shown}."]


def _largest(x: Array) -> float:
    return max(abs(float(x.max())), abs(float(x.min())))


def _unseen(targets: Targets, train: Subset, val: Subset, *, drawn: bool) -> list[str]:
    """Says which classes occur in validation only."""
    if targets.labels is None or targets.info.kind != "classes":
        return []
    missing = np.setdiff1d(val.targets, train.targets).tolist()
    if not missing:
        return []
    shown = ", ".join(map(repr, missing[:5])) + (" and more" if len(missing) > 5 else "")
    remedy = "take another split_seed or give a validation part" if drawn else "add rows of it to the training part"
    return [f"Classes that only validation has: {shown}. They cannot be learned: {remedy}."]
