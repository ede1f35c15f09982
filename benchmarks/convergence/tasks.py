"""What is trained on: a task with its three parts, and a family of tasks that may share a P.

Invariants: the parts of a task share no example; the sources of a held-out task (photographs, classes, rows, packages)
are in no contributor's sources. `Family.check` asserts the second, `learning.assert_unseen` again for what P saw.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kind = Literal["regression", "classification", "language_modeling"]
Part = Literal["train", "tune", "test"]
PARTS: tuple[Part, ...] = ("train", "tune", "test")
ModelOf = Mapping[str, object]
"""A resolved model, as `warpadam.shapes` reads it."""


class Examples(Protocol):
    """One part of a task, from which batches are picked by place."""

    def __len__(self) -> int: ...

    def pick(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """x and y at these places, of any shape (..., B): x (..., B, features), y (..., B, targets)."""
        ...

    def digest(self) -> str: ...


@dataclass(frozen=True, eq=False)
class RowsPart:
    """A table or images: x (n, ...) float32; y (n, k) float32 or (n,) int64."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)

    def pick(self, places: Tensor) -> tuple[Tensor, Tensor]:
        return self.x[places], self.y[places]

    def digest(self) -> str:
        return _sha(self.x.numpy().tobytes(), self.y.numpy().tobytes())


@dataclass(frozen=True, eq=False)
class TextPart:
    """Bytes; a place is where a window of `context` bytes begins, and y is the same window one byte further."""

    text: Tensor
    context: int

    def __len__(self) -> int:
        return len(self.text) - self.context

    def pick(self, places: Tensor) -> tuple[Tensor, Tensor]:
        windows = self.text[places[..., None] + torch.arange(self.context + 1)].long()
        return windows[..., :-1], windows[..., 1:]

    def digest(self) -> str:
        return _sha(self.text.numpy().tobytes(), str(self.context).encode())


@dataclass(frozen=True, eq=False)
class Task:
    """`sources` name everything that the task's data comes from; `model` is built anew for each seed."""

    name: str
    kind: Kind
    sources: frozenset[str]
    parts: Mapping[Part, Examples]
    model: ModelOf
    evaluated: int = 4096  # examples of each part that a loss is taken over, evenly spaced

    @cached_property
    def digest(self) -> str:
        return _sha(*(self.parts[part].digest().encode() for part in PARTS))

    def places(self, part: Part) -> Tensor:
        """The examples of a part that its loss is taken over: the same ones for every method."""
        size = len(self.parts[part])
        count = min(size, self.evaluated)
        return torch.arange(count) * size // count

    def batches(self, seed: int, steps: int, batch_size: int) -> Tensor:
        """(steps, batch_size) places in the training part: permutations laid end to end, by seed alone."""
        size = len(self.parts["train"])
        rng = np.random.default_rng([seed, 20])
        epochs = -(-steps * batch_size // size)
        order: NDArray[np.int64] = np.concatenate([rng.permutation(size) for _ in range(epochs)])
        return torch.from_numpy(order[: steps * batch_size].reshape(steps, batch_size))


@dataclass(frozen=True, eq=False)
class Family:
    """Tasks that share a P. `T` is AdamW's budget, to which every steps ratio refers."""

    name: str
    about: str
    T: int
    batch_size: int
    contributors: tuple[Task, ...]
    tuning: tuple[Task, ...]
    held_out: tuple[Task, ...]
    init: Literal["random", "shared"] = "random"
    learning_rate: float = 1.6e-2  # the contributors' own
    start: Mapping[str, Tensor] | None = field(default=None, repr=False)  # the weights that every job begins from
    tuning_seeds: int = 1
    centre: int = 4  # the grids' middle learning rate is 1e-3 · 2^centre, for every method
    anchor: str | None = None  # what hidden axes are aligned with; None: they have no P

    def check(self) -> "Family":
        """This family. ValueError where a task that is judged shares a source with one that P is learned from."""
        for task in (*self.tuning, *self.held_out):
            for contributor in self.contributors:
                shared = task.sources & contributor.sources
                if shared:
                    raise ValueError(f"{self.name}: {task.name} and contributor {contributor.name} share {shared}")
        names = [task.name for task in (*self.contributors, *self.tuning, *self.held_out)]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: two tasks have one name")
        return self


def split_rows(x: NDArray[np.generic], y: NDArray[np.generic], seed: int) -> dict[Part, Examples]:
    """Half to train on, 15 % to tune on, 35 % to test on, drawn by `seed`."""
    order = np.random.default_rng([seed, 60]).permutation(len(x))
    first, second = int(0.5 * len(x)), int(0.65 * len(x))
    return {
        "train": rows_part(x[order[:first]], y[order[:first]]),
        "tune": rows_part(x[order[first:second]], y[order[first:second]]),
        "test": rows_part(x[order[second:]], y[order[second:]]),
    }


def rows_part(x: NDArray[np.generic], y: NDArray[np.generic]) -> RowsPart:
    targets = torch.from_numpy(np.ascontiguousarray(y))
    return RowsPart(
        torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)),
        targets.float() if targets.is_floating_point() else targets.long(),
    )


def _sha(*pieces: bytes) -> str:
    total = hashlib.sha256()
    for piece in pieces:
        total.update(len(piece).to_bytes(8, "big"))
        total.update(piece)
    return total.hexdigest()
