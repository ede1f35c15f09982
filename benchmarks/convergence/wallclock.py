"""What a step costs, by ratios to AdamW's measured in the same interleaved rounds: the real optimizers, no stacks.

Counted for WarpAdam beside its step: observing and syncing, were the job to contribute, and the job's share of what P
cost: the contributors' observing and syncing and the solving, divided among the held-out jobs.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.convergence import learning, peers
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import SYNC_EVERY, keys_of, learn
from benchmarks.convergence.machine import machine
from benchmarks.convergence.tasks import Family
from benchmarks.convergence.updates import Stacked
from warpadam import Warp, WarpAdam
from warpadam.adapt import Mode
from warpadam.learn import RULES
from workers.tasks.models import Model, build

ROUNDS, STEPS = 12, 10
LR = 1e-3
OURS = ("warp", "warp, observing", "warp-nesterov", "warp-adapt", "warp-adapt-nesterov")
Step = Callable[[], None]


def measure(family: Family) -> dict[str, object]:
    """Times by AdamW's for a whole training step; the share of learning P in AdamW steps; the seconds of AdamW's."""
    loops = _loops(family)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for name in [*loops, *(name for _ in range(ROUNDS) for name in loops)]:
        started = time.perf_counter()
        for _ in range(STEPS):
            loops[name]()
        times[name].append((time.perf_counter() - started) / STEPS)
    adamw = times["adamw"][1:]  # the first round warms up
    ratios = {
        name: median(took / base for took, base in zip(found[1:], adamw, strict=True)) for name, found in times.items()
    }
    observing = ratios.pop("warp, observing") - ratios["warp"]
    solving = _solving(family) / median(adamw)
    learned = len(family.contributors) * family.T * max(0.0, observing) + solving
    return {
        "step": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "observing": round(observing, 3),
        "solving_steps": round(solving, 1),
        "share": round(learned / len(family.contributors), 1),
        "adamw_seconds": float(f"{median(adamw):.3g}"),
    }


def write(families: list[Family], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    found: Mapping[str, object] = {"machine": machine(), "families": {f.name: measure(f) for f in families}}
    path.write_text(json.dumps(found, indent=1) + "\n")
    return path


def _loops(family: Family) -> dict[str, Step]:
    """One training step of each method, on a model of its own."""
    task = family.held_out[0]
    warp = Warp({key: P for key, P in learn(family.name).warps.items() if key in _sizes(family)})
    packaged: Mapping[str, peers.Make] = {
        "soap": peers.soap,
        "muon": peers.muon,
        "shampoo": peers.shampoo,
        "schedule-free": peers.schedule_free,
    }
    loops: dict[str, Step] = {}
    for name in ("adamw", "nadam", *OURS, *packaged):
        model = build(task.model, seed=0, anchor=family.anchor)
        if name == "adamw":
            optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(model.parameters(), lr=LR)]
        elif name == "nadam":
            optimizers = [torch.optim.NAdam(model.parameters(), lr=LR)]
        elif name in packaged:
            named = dict(model.named_parameters())
            optimizers = packaged[name](named, Setting(LR), Stacked({}, [Setting(LR)], {}, {}))
        else:
            optimizers = [_ours(name, model, warp)]
        loops[name] = _loop(family, model, optimizers, observed=name == "warp, observing")
    return loops


def _ours(name: str, model: Model, warp: Warp) -> WarpAdam:
    adapt: Mode = "hidden" if name.startswith("warp-adapt") else "none"
    return WarpAdam(model, lr=LR, warp=warp, adapt=adapt, nesterov=name.endswith("-nesterov"))


def _loop(family: Family, model: Model, optimizers: list[torch.optim.Optimizer], *, observed: bool) -> Step:
    task = family.held_out[0]
    places = task.batches(0, 64, family.batch_size)
    observer = RULES["covariance"].observe(keys_of(family, task))
    done = 0

    def step() -> None:
        nonlocal done
        x, y = task.parts["train"].pick(places[done % len(places)])
        model.zero_grad()
        torch.autograd.backward(_loss(model(x), y))
        if observed:
            observer.observe((name, p.grad) for name, p in model.named_parameters() if p.grad is not None)
        for optimizer in optimizers:
            optimizer.step()
        done += 1
        if observed and done % SYNC_EVERY == 0:
            observer.take()

    return step


def _loss(found: Tensor, y: Tensor) -> Tensor:
    if y.is_floating_point():
        return nn.functional.mse_loss(found, y)
    return nn.functional.cross_entropy(found.flatten(0, -2), y.flatten())


def _sizes(family: Family) -> set[str]:
    return {key for row in keys_of(family, family.held_out[0]).values() for key in row if key is not None}


def _solving(family: Family) -> float:
    """Seconds to solve P once from what 20 jobs saw."""
    statistics = learning.learn(family.name).statistics
    started = time.perf_counter()
    RULES["covariance"].solve(statistics)
    return time.perf_counter() - started
