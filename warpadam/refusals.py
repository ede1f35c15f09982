"""What WarpAdam refuses, and says: options that mean nothing, gradients it cannot use."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor


def check_options(options: Mapping[str, Any]) -> None:
    """Raises ValueError where the options of a group of parameters are out of range or exclude each other."""
    lr, betas, eps, weight_decay = (options[name] for name in ("lr", "betas", "eps", "weight_decay"))
    for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, not {value}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers of at least 0 and below 1, not {betas}")
    if options["adapt"]["axes"] != "none" and not options["project_back"]:
        raise ValueError("adapt needs project_back=True: the paper's rule has no basis that could follow the gradient")


def check_gradient(param: Tensor) -> None:
    """Raises RuntimeError for a sparse gradient and for a complex parameter."""
    if param.grad is not None and param.grad.layout is not torch.strided:
        raise RuntimeError("WarpAdam needs dense gradients: make the embedding with sparse=False")
    if param.is_complex():
        raise RuntimeError("WarpAdam needs real parameters: optimise torch.view_as_real of a complex one")
