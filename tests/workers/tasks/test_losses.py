"""Summed losses of parts add up to the whole, and their means are the ones the contract names."""

import pytest
import torch
from torch.nn import functional

from workers.tasks.losses import LOSSES


def test_regression_is_the_mean_over_all_elements() -> None:
    outputs, targets = torch.randn(6, 3), torch.randn(6, 3)
    total = LOSSES["regression"].sum(outputs, targets) / targets.numel()
    assert total.item() == pytest.approx(functional.mse_loss(outputs, targets).item())
    assert LOSSES["regression"].correct is None


def test_classification_is_cross_entropy_in_nats() -> None:
    outputs, targets = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    loss = LOSSES["classification"]
    parts = loss.sum(outputs[:2], targets[:2]) + loss.sum(outputs[2:], targets[2:])
    assert parts.item() / 6 == pytest.approx(functional.cross_entropy(outputs, targets).item(), rel=1e-6)
    assert loss.correct is not None
    assert loss.correct(functional.one_hot(targets, 3).float(), targets).item() == 6


def test_language_modeling_counts_every_byte() -> None:
    logits, targets = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    mean = LOSSES["language_modeling"].sum(logits, targets).item() / targets.numel()
    assert mean == pytest.approx(functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).item(), rel=1e-6)
