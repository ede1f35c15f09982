"""Losses by task: each gives a sum and a count, so that parts of a batch add up to the whole batch's mean exactly.

regression: squared error, counted per element. classification: cross-entropy in nats, counted per example.
language_modeling: cross-entropy in nats, counted per byte.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from service.spec import Task


@dataclass(frozen=True)
class Loss:
    """`sum(outputs, targets)`: the summed loss, float32. `correct(outputs, targets)`: how many are right, or None."""

    sum: Callable[[Tensor, Tensor], Tensor]
    correct: Callable[[Tensor, Tensor], Tensor] | None


def _squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.float() - targets).square().sum()


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """outputs (..., classes), targets (...) of class ids."""
    return nn.functional.cross_entropy(outputs.float().flatten(0, -2), targets.flatten(), reduction="sum")


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).sum()


LOSSES: dict[Task, Loss] = {
    "regression": Loss(_squared_error, None),
    "classification": Loss(_cross_entropy, _right),
    "language_modeling": Loss(_cross_entropy, _right),
}
