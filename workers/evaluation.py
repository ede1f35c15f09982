"""Validation: the whole validation part in fixed order, without gradients; each rank takes a share."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.group import Group
from workers.tasks.data import Batches
from workers.tasks.losses import Loss


@dataclass(frozen=True)
class Scores:
    """Means over the validation part; `accuracy` is None for regression."""

    loss: float
    accuracy: float | None


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, loss: Loss, group: Group, precision: torch.dtype) -> Scores:
    """The scores, the same on every rank."""
    sums = torch.zeros(3, dtype=torch.float32 if group.device.type == "mps" else torch.float64, device=group.device)
    model.eval()
    for inputs, targets in batches.validation():
        outputs = _forward(model, inputs, precision)
        correct = loss.correct(outputs, targets) if loss.correct else torch.zeros((), device=group.device)
        sums += torch.stack([loss.sum(outputs, targets).to(sums), correct.to(sums), sums.new_tensor(targets.numel())])
    model.train()
    group.sum(sums)
    total, correct, count = sums.tolist()
    return Scores(total / count, correct / count if loss.correct else None)


def _forward(model: nn.Module, inputs: Tensor, precision: torch.dtype) -> Tensor:
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
        outputs: Tensor = model(inputs)
    return outputs
