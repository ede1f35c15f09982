"""The workers that train one job together. One worker is the same code with nobody to talk to.

Every method is collective: all ranks call it, at the same step, or none does.
"""

from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Rank 0 reports, saves and talks to the meta-learner."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> None:
        """Replaces the tensor by its sum over the ranks, the same bits on each."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def align(self, model: nn.Module) -> None:
        """Gives every rank the buffers of rank 0, which are what a checkpoint holds: batch norm's, say."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)

    def gather(self, mine: T) -> list[T]:
        """Everybody's object in order of rank, on rank 0; an empty list elsewhere."""
        if self.world == 1:
            return [mine]
        found: list[T] | None = [mine] * self.world if self.leads else None
        dist.gather_object(mine, found)
        return found or []

    def share(self, leaders: T) -> T:
        """Rank 0's object, on every rank."""
        if self.world == 1:
            return leaders
        box = [leaders]
        dist.broadcast_object_list(box, src=0)
        return box[0]
