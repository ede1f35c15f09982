"""What was understood of a dataset, and its arrays.

`DatasetInfo` is JSON in the database and in answers; `Arrays` is what training gets. Both come from the same readers,
so what an info promises is what `load` gives.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

from service.data.errors import DataError, printable
from service.spec import Format, Task

Kind = Literal["table", "images", "text"]
TargetKind = Literal["classes", "values", "none"]
Label = bool | int | float | str

VOCABULARY = 256
"""Text is bytes."""

_NEEDS: dict[Task, TargetKind] = {"classification": "classes", "regression": "values", "language_modeling": "none"}


class _Info(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")


class InputInfo(_Info):
    """`shape` of one row: (columns,), (height, width, channels), or () for one byte of text; `dtype` as loaded."""

    shape: list[int]
    dtype: Literal["float32", "uint8"]


class TargetInfo(_Info):
    """`kind` is how the target is best understood, `kinds` every way in which it may be used.

    `shape` of one row as values: (k,). As classes a target is a single id, whatever `shape` says.
    """

    kind: TargetKind
    kinds: list[TargetKind]
    shape: list[int]
    dtype: Literal["int64", "float32", "none"]


class Normalization(_Info):
    """Inputs become (x - mean) / std: one pair per column of a table or channel of images, of the training part."""

    mean: list[float]
    std: list[float]


class DatasetInfo(_Info):
    kind: Kind
    format: Format | None = None
    """None for built-ins."""
    train: int
    """Rows, or bytes of text."""
    val: int
    input: InputInfo
    target: TargetInfo
    classes: list[Label] | None = None
    """Sorted labels, their places are the class ids; present where `classes` is among `target.kinds`."""
    columns: list[str] | None = None
    """Names of the inputs in order, where they have any."""
    target_columns: list[str] | None = None
    normalization: Normalization | None = None
    size_bytes: int
    warnings: list[str] = []

    @field_validator("warnings")
    @classmethod
    def _printable(cls, warnings: list[str]) -> list[str]:
        return [printable(warning, 500) for warning in warnings]

    def problem(self, task: Task) -> str | None:
        """Why this dataset does not serve `task`, and what to do; None: it does."""
        if (task == "language_modeling") != (self.kind == "text"):
            return (
                "language_modeling needs text: register a .txt file or python-text."
                if task == "language_modeling"
                else f"{task} needs rows with targets, and this dataset is text: use the task language_modeling."
            )
        if _NEEDS[task] in self.target.kinds:
            return None
        if task == "regression":
            return "regression needs numbers as targets, and these are text: use classification, or encode them."
        if self.target.shape != [1]:
            return (
                f"classification needs one label per row, and the target has {self.target.shape[0]} columns: "
                "give class labels (for one-hot rows: y.argmax(1)), or use regression."
            )
        return (
            "classification needs at least two labels that repeat, and these targets look like measurements: "
            "give integer or text labels, or use regression."
        )

    def outputs(self, task: Task) -> int:
        """How many outputs a model for `task` has. Raises DataError where the dataset does not serve it."""
        if problem := self.problem(task):
            raise DataError(problem)
        if task == "classification":
            return len(self.classes or [])
        return VOCABULARY if task == "language_modeling" else self.target.shape[0]


@dataclass(frozen=True)
class Arrays:
    """Inputs float32, (rows, *info.input.shape); targets int64 ids (rows,) or float32 values (rows, k).

    Text: `x_train` and `x_val` are uint8 (bytes,), and the targets are empty.
    """

    x_train: NDArray[Any]
    y_train: NDArray[Any]
    x_val: NDArray[Any]
    y_val: NDArray[Any]
    info: DatasetInfo


def no_targets() -> NDArray[np.int64]:
    """The targets of text."""
    return np.empty(0, dtype=np.int64)
