"""Batches: which examples step `s` sees is a pure function of (data, seed, s), so a resume needs no state of its own.

Tables and images are drawn without replacement, epoch by epoch; a batch may span two epochs. Text is drawn as random
windows of context + 1 bytes. Of N workers each takes its contiguous share of the same global batch; shares may be
uneven. Validation is the whole validation part in fixed order; text in windows that do not overlap.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.spec import Task

EVAL_VALUES = 2**22
"""About how many input values one batch of an evaluation has."""
EVAL_ROWS = 4096
RESIDENT_BYTES = 2 * 2**30
"""Data up to this size is put on the device once."""


@dataclass(frozen=True)
class Split:
    """The arrays of a dataset: rows of x and y, or 1-D bytes in x (then y is empty)."""

    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_val: NDArray[np.generic]
    y_val: NDArray[np.generic]


@dataclass(frozen=True)
class Share:
    """Which part of every global batch this worker takes."""

    rank: int = 0
    world: int = 1

    def of(self, count: int) -> slice:
        return slice(count * self.rank // self.world, count * (self.rank + 1) // self.world)


class Batches(Protocol):
    """What the loop asks of its data. All tensors are on the device."""

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        """This worker's share of the global batch of `step`; may be empty."""
        ...

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """This worker's share of the validation part, in fixed order."""
        ...

    @property
    def targets_per_batch(self) -> int:
        """How many losses the global batch sums: what a mean over it divides by."""
        ...


class Rows:
    """Batches of a table or of images: x (n, ...), y (n,) class ids or (n, k) values."""

    def __init__(self, split: Split, batch_size: int, seed: int, device: torch.device, share: Share) -> None:
        self._x, self._y = _tensor(split.x_train, device), _tensor(split.y_train, device)
        self._x_val, self._y_val = _tensor(split.x_val, device), _tensor(split.y_val, device)
        self._size, self._seed, self._device, self._share = batch_size, seed, device, share
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self.targets_per_batch = batch_size * (self._y[0].numel() if self._y.ndim > 1 else 1)

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(self._rows(step)[self._share.of(self._size)])
        return _pick(self._x, rows, self._device), _pick(self._y, rows, self._device)

    def _rows(self, step: int) -> NDArray[np.int64]:
        """The rows of the global batch, in order: the epochs' permutations laid end to end."""
        begin, end = step * self._size, (step + 1) * self._size
        parts = []
        for epoch in range(begin // len(self._x), (end - 1) // len(self._x) + 1):
            first = epoch * len(self._x)
            parts.append(self._permutation(epoch)[max(0, begin - first) : end - first])
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self._seed, epoch]).permutation(len(self._x)))
        return self._order[1]

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        part = self._share.of(len(self._x_val))
        size = _eval_rows(self._x_val)
        for start in range(part.start, part.stop, size):
            rows = slice(start, min(start + size, part.stop))
            yield self._x_val[rows].to(self._device), self._y_val[rows].to(self._device)


class Windows:
    """Batches of text as bytes: x (B, context) and y the same one byte further, int64."""

    def __init__(
        self, split: Split, batch_size: int, seed: int, device: torch.device, share: Share, *, context: int
    ) -> None:
        if len(split.x_train) < context + 1:
            raise ValueError(
                f"the training part has {len(split.x_train)} bytes, one window of context {context} needs "
                f"{context + 1}: use more text or a smaller model.context"
            )
        if len(split.x_val) < 2:
            raise ValueError("the validation part has fewer than 2 bytes: use more text or a larger val_fraction")
        self._train, self._val = _tensor(split.x_train, device), _tensor(split.x_val, device)
        self._context, self._size, self._seed = context, batch_size, seed
        self._device, self._share = device, share
        self._window = torch.arange(context + 1)
        self.targets_per_batch = batch_size * context

    def train(self, step: int) -> tuple[Tensor, Tensor]:
        draws = np.random.default_rng([self._seed, step])
        starts = draws.integers(0, len(self._train) - self._context, self._size)
        places_BL = torch.from_numpy(starts[self._share.of(self._size)])[:, None] + self._window
        return _shifted(_pick(self._train, places_BL, self._device))

    def validation(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows side by side: each byte but the first is predicted once, the last ones in a shorter window."""
        whole = (len(self._val) - 1) // self._context
        part = self._share.of(whole)
        size = max(1, EVAL_VALUES // (256 * self._context))
        for start in range(part.start, part.stop, size):
            rows = torch.arange(start, min(start + size, part.stop))
            yield _shifted(_pick(self._val, rows[:, None] * self._context + self._window, self._device))
        rest = self._val[whole * self._context :]
        if len(rest) > 1 and self._share.rank == self._share.world - 1:
            yield _shifted(rest[None].to(self._device))


def batches(
    task: Task,
    split: Split,
    *,
    context: int | None,
    batch_size: int,
    seed: int,
    device: torch.device,
    share: Share | None = None,
) -> Batches:
    """The batches of a task; `context` is the model's, for language modeling."""
    share = share or Share()
    if task == "language_modeling":
        if context is None:
            raise ValueError("language_modeling needs a model with a context: use model.arch transformer")
        return Windows(split, batch_size, seed, device, share, context=context)
    return Rows(split, batch_size, seed, device, share)


def _tensor(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array as a tensor, on the device where it is small enough.

    What is larger stays where it lies, in memory, in a mapped file or in Ray's store, and is copied batch by batch.
    """
    if array.nbytes <= RESIDENT_BYTES:
        return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
        return torch.from_numpy(array)


def _pick(data: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    return data[rows.to(data.device)].to(device, non_blocking=True)


def _shifted(windows_BL: Tensor) -> tuple[Tensor, Tensor]:
    windows_BL = windows_BL.long()
    return windows_BL[:, :-1], windows_BL[:, 1:]


def _eval_rows(x: Tensor) -> int:
    values = x[0].numel() if len(x) else 1
    return int(min(EVAL_ROWS, max(1, EVAL_VALUES // max(1, values))))
