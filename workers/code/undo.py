"""A step that was begun and is not to count: what a forward of user code has moved is put back.

Whether to stop is learned from the all-reduce after a step's backward, and the checkpoint that follows is of the step
before. A forward of ours leaves nothing behind; a user's may have moved buffers (batch norm's) or drawn random numbers.
"""

import torch
from torch import Tensor, nn


class Undo:
    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._buffers = list(model.buffers())
        self._on_gpu = device.type == "cuda"
        self._before: list[Tensor] = []
        self._random: list[Tensor] = []

    def note(self) -> None:
        """Before the forward."""
        self._before = [buffer.clone() for buffer in self._buffers]
        self._random = [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if self._on_gpu else [])]

    def back(self) -> None:
        """As it was when it was noted last."""
        with torch.no_grad():
            for buffer, before in zip(self._buffers, self._before, strict=True):
                buffer.copy_(before)
        torch.set_rng_state(self._random[0])
        if self._on_gpu:
            torch.cuda.set_rng_state(self._random[1])
