"""One training run on one rank or on two under DistributedDataParallel, for the test that they agree."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.warpadam.matrices import rotation
from warpadam import Warp, WarpAdam
from warpadam.adapt import Adaptation
from warpadam.learn.observe import CovarianceObserver

HIDDEN = f"param:0.weight:0:8@{'0' * 12}"
AXES = {"0.weight": (HIDDEN, "input:6"), "2.weight": ("output:3", None)}
KEYS = ("input:6", "output:3", HIDDEN)
STEPS, BATCH = 12, 16


def run(rank: int, world: int, folder: str) -> None:
    """Trains, and saves what it has: parameters, bases, statistics, to `<world>-<rank>.npz`."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world, timeout=timedelta(seconds=90)
        )
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    model: nn.Module = DistributedDataParallel(net) if world > 1 else net
    warp = Warp({"input:6": rotation(6), "output:3": rotation(3, 1)})
    optimizer = WarpAdam(model, lr=0.01, warp=warp, axes=AXES, weight_decay=0.1, adapt=Adaptation(every=5))
    observer = CovarianceObserver(AXES, rank=rank, world_size=world)
    draw = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        x = torch.randn(BATCH, 6, generator=draw).chunk(world)[rank]
        optimizer.zero_grad()
        torch.autograd.backward(model(x).square().sum(1).mean())
        observer.observe((name, p.grad) for name, p in net.named_parameters() if p.grad is not None)
        optimizer.step()
    sums, skipped = observer.take()
    bases = {f"basis {i} {name}": value for i, state in enumerate(optimizer.state.values())
             for name, value in state.items() if name.startswith("basis")}  # fmt: skip
    found = {**{name: p.detach() for name, p in net.named_parameters()}, **bases}
    arrays = {name: np.asarray(value) for name, value in found.items()}
    np.savez(
        Path(folder) / f"{world}-{rank}.npz", skipped=skipped, **arrays, **{f"sum {k}": v for k, v in sums.items()}
    )
    if world > 1:
        dist.destroy_process_group()
