"""All gradients of a model in one flat buffer, and behind them the step's signals: one all-reduce carries both.

`parameter.grad` are views of the buffer, so backward writes into it and nothing is copied. Each rank adds the summed
loss of its share divided by the count of the whole batch: the sum over the ranks is the whole batch's mean, however
uneven the shares are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.group import Group

_ALIGNMENT = 16
"""Gradients begin at multiples of 64 bytes."""
_SIGNALS = 4


@dataclass(frozen=True)
class Signals:
    """What all ranks learn together after a step's backward, and decide upon in the same way."""

    loss: float
    """Mean loss of the global batch."""
    norm: float
    """Euclidean norm of all gradients."""
    stop: bool
    """The leader was asked to stop."""
    sync: bool
    """The leader is ready for an exchange with the meta-learner."""
    warp: bool
    """The leader has a newer P to change to."""


class Gradients:
    """The buffer. Parameters must be float32, on one device, and keep their `grad`."""

    def __init__(self, model: nn.Module, group: Group) -> None:
        self._group = group
        parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        sizes = [-(-p.numel() // _ALIGNMENT) * _ALIGNMENT for _, p in parameters]
        self._buffer = torch.zeros(sum(sizes) + _SIGNALS, device=group.device)
        self._flat, self._signals = self._buffer[:-_SIGNALS], self._buffer[-_SIGNALS:]
        self._named: list[tuple[str, Tensor]] = []
        place = 0
        for (name, parameter), size in zip(parameters, sizes, strict=True):
            parameter.grad = self._flat[place : place + parameter.numel()].view_as(parameter)
            self._named.append((name, parameter.grad))
            place += size

    def zero(self) -> None:
        self._buffer.zero_()

    def reduce(self, loss: Tensor, *, stop: bool, sync: bool, warp: bool) -> Signals:
        """Sums gradients and signals over the ranks. `loss`: this rank's part of the mean, detached."""
        self._signals.copy_(torch.tensor([0.0, stop, sync, warp]))
        self._signals[0].copy_(loss)
        self._group.sum(self._buffer)
        norm = torch.linalg.vector_norm(self._flat)
        values = torch.cat([norm[None], self._signals]).tolist()
        return Signals(norm=values[0], loss=values[1], stop=values[2] > 0, sync=values[3] > 0, warp=values[4] > 0)

    def clip(self, norm: float, limit: float | None) -> None:
        """Scales all gradients so that their norm is at most `limit`."""
        if limit is not None and norm > limit:
            self._flat.mul_(limit / norm)

    def named(self) -> Iterator[tuple[str, Tensor]]:
        return iter(self._named)
