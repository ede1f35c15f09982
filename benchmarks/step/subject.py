"""The model that is stepped: a transformer with a random P on every axis of up to 512, and gradients that stay."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from warpadam import Warp, WarpAdam, shapes
from warpadam.warp import Matrix
from workers.tasks import models

ANCHOR = "0" * 12
CONTEXT = 128


@dataclass(frozen=True)
class Subject:
    """`keys`: parameter name -> axis keys. Each optimizer gets a copy of `model` with the same gradients."""

    model: models.Model
    warp: Warp

    @property
    def weights(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def weight_bytes(self) -> int:
        return sum(parameter.nbytes for parameter in self.model.parameters())

    def copy(self) -> models.Model:
        model = copy.deepcopy(self.model)
        for parameter, own in zip(model.parameters(), self.model.parameters(), strict=True):
            parameter.grad = None if own.grad is None else own.grad.clone()
        return model

    def warp_adam(self, warp: Warp | None = None) -> WarpAdam:
        return WarpAdam(self.copy(), warp=warp or self.warp, weight_decay=0.01)

    def adamw(self, *, fused: bool) -> torch.optim.AdamW:
        """The fused one, or the one by `foreach`."""
        return torch.optim.AdamW(self.copy().parameters(), weight_decay=0.01, fused=fused, foreach=not fused)


def subject(layers: int, width: int, device: torch.device, dtype: torch.dtype) -> Subject:
    torch.manual_seed(0)
    description = {
        "arch": "transformer", "layers": layers, "width": width, "heads": 8, "context": CONTEXT, "vocabulary": 256,
    }  # fmt: skip
    model = models.build(description, seed=0, anchor=ANCHOR).to(device, dtype)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    sizes = shapes.sizes_by_key(model.axis_keys)
    rotations = {size: torch.linalg.qr(torch.randn(size, size))[0] for size in set(sizes.values())}
    # Copies, one for each key: a P that is not shared more than it would be in earnest.
    return Subject(model, Warp({key: rotations[size].clone() for key, size in sizes.items()}))


def products(subject: Subject) -> tuple[Callable[[], None], float]:
    """Exactly the matrix products of one step, there and back, into memory that is there; and their operations.

    4·m·n·(m+n) for an m × n parameter with both axes. In the types that the step uses: float32 or above.
    """
    device = next(subject.model.parameters()).device
    todo: list[tuple[Tensor, int, Matrix]] = []
    sources: dict[torch.Size, tuple[Tensor, Tensor]] = {}
    for name, parameter in subject.model.named_parameters():
        for axis, key in enumerate(subject.model.axis_keys.get(name, ())):
            if key is not None:
                todo.append((parameter, axis, subject.warp.matrix(key, device, torch.float32)))
                like = torch.randn(parameter.shape, device=device)
                sources.setdefault(parameter.shape, (like, torch.empty_like(like)))

    def run() -> None:
        for parameter, axis, M in todo:
            G, out = sources[parameter.shape]
            assert isinstance(M, Tensor)
            for matrix in (M, M.mT):
                if axis == 0:
                    torch.mm(matrix, G, out=out)
                else:
                    torch.mm(G, matrix.mT, out=out)

    return run, float(sum(4 * parameter.numel() * len(M) for parameter, _, M in todo))


def micro_batch(model: models.Model, tokens: int) -> Callable[[], None]:
    """Forward and backward of that many tokens, in windows of the context; gradients are added to."""
    device = next(model.parameters()).device
    windows = torch.randint(0, 256, (max(1, tokens // CONTEXT), CONTEXT), device=device)

    def run() -> None:
        logits = model(windows).flatten(0, 1)
        torch.autograd.backward(torch.nn.functional.cross_entropy(logits.float(), windows.flatten()))

    return run
