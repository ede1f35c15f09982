"""What is measured, and against which target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from benchmarks.step.subject import CONTEXT, Subject, micro_batch, products
from benchmarks.step.timing import interleaved, median_of, medians
from warpadam import Warp, WarpAdam, shapes
from warpadam.learn import RULES
from warpadam.sharing import only_inputs, share_inputs, share_stream
from workers.contributing import keys_within

STEP, TRAINING, OBSERVING, MEMORY = 1.3, 1.05, 1.08, 1.0
TOKENS = 32_000
CONTRIBUTION = 16 * 2**20
REFLECTORS = (8, 32, 64, 128)


@dataclass(frozen=True)
class Result:
    """One number and what it may be at most (None: no target)."""

    name: str
    value: float
    target: float | None = None

    @property
    def reached(self) -> bool | None:
        return None if self.target is None else self.value <= self.target


def steps(subject: Subject, repeats: int, device: torch.device) -> tuple[list[Result], dict[str, float]]:
    """`step()` against AdamW's and the products, and the whole training step, all in turns."""
    multiply, operations = products(subject)
    ours, observed = subject.warp_adam(), subject.copy()
    observer = RULES["covariance"].observe(keys_within(observed.axis_keys, CONTRIBUTION))
    named = [(name, p.grad) for name, p in observed.named_parameters() if p.grad is not None]
    runs: dict[str, Callable[[], object]] = {
        "products": multiply,
        "adamw": subject.adamw(fused=device.type == "cuda").step,
        "warpadam": ours.step,
        "observe": lambda: observer.observe(named),
        "forward_backward": micro_batch(subject.copy(), micro := 8 * CONTEXT),
    }
    if device.type == "cpu":
        runs["adamw_fused"] = subject.adamw(fused=True).step
    seconds = interleaved(runs, repeats, device)
    found = medians(seconds)
    rest = TOKENS / micro
    results = [
        Result(
            "step: (WarpAdam - AdamW) / products",
            median_of(seconds, lambda t: (t["warpadam"] - t["adamw"]) / t["products"]),
            STEP,
        ),
        Result("step: WarpAdam / AdamW", median_of(seconds, lambda t: t["warpadam"] / t["adamw"])),
        Result(
            f"training step of {TOKENS} tokens: WarpAdam / AdamW",
            median_of(seconds, lambda t: _whole(t, rest, "warpadam") / _whole(t, rest, "adamw")),
            TRAINING,
        ),
        Result(
            "the same, observing every step: WarpAdam / AdamW",
            median_of(seconds, lambda t: (_whole(t, rest, "warpadam") + t["observe"]) / _whole(t, rest, "adamw")),
            OBSERVING,
        ),
        Result("products: 10⁹ operations a second", operations / found["products"] / 1e9),
    ]
    return results, found


def _whole(seconds: Mapping[str, float], rest: float, optimizer: str) -> float:
    """A training step: so many small batches, then the optimizer."""
    return rest * seconds["forward_backward"] + seconds[optimizer]


def memory(subject: Subject) -> list[Result]:
    """Bytes of P, of the statistics that a job sends and holds, beside the weights'."""
    kept = shapes.sizes_by_key(keys_within(subject.model.axis_keys, CONTRIBUTION)).values()
    contribution = sum(8 * size * (size + 1) // 2 for size in kept)
    held = sum(8 * size * size for size in kept)
    return [
        Result("memory: P / weights", subject.warp.nbytes / subject.weight_bytes, MEMORY),
        Result("memory: statistics held (float64) / weights", held / subject.weight_bytes, MEMORY),
        Result("memory: a contribution / 16 MiB", contribution / CONTRIBUTION, 1.0),
    ]


def cheaper(subject: Subject, repeats: int, device: torch.device) -> list[dict[str, object]]:
    """What fewer and shorter matrices save: step time against AdamW's and the full P's, and bytes."""
    keys = subject.model.axis_keys
    inputs = shapes.sizes_by_key(only_inputs(keys))
    variants: dict[str, WarpAdam] = {"full P": subject.warp_adam()}
    for name, shared in (("q, k, v share", share_inputs(keys)), ("one residual stream", share_stream(keys))):
        variants[name] = _under(subject, shared)
    variants["input axes only"] = subject.warp_adam(_only(subject.warp, set(inputs)))
    variants |= {f"reflectors, r = {r}": subject.warp_adam(subject.warp.reflected(r)) for r in REFLECTORS}
    runs: dict[str, Callable[[], object]] = {name: optimizer.step for name, optimizer in variants.items()}
    seconds = interleaved({"adamw": subject.adamw(fused=device.type == "cuda").step, **runs}, repeats, device)
    found = medians(seconds)
    return [
        {
            "matrices": name,
            "seconds": found[name],
            "added to AdamW, of the full P's": median_of(seconds, _added(name)),
            "bytes of P / weights": _warp(variants[name]).nbytes / subject.weight_bytes,
        }
        for name in variants
    ]


def _added(name: str) -> Callable[[Mapping[str, float]], float]:
    return lambda t: (t[name] - t["adamw"]) / (t["full P"] - t["adamw"])


def _only(warp: Warp, keys: set[str]) -> Warp:
    return Warp({key: matrix for key, matrix in warp.matrices.items() if key in keys})


def _under(subject: Subject, keys: "dict[str, tuple[str | None, ...]]") -> WarpAdam:
    """The optimizer under other keys, with any P of their sizes."""
    by_size = {len(matrix): matrix for matrix in subject.warp.matrices.values()}
    warp = Warp({key: by_size[size] for key, size in shapes.sizes_by_key(keys).items()})
    return WarpAdam(subject.copy(), warp=warp, axes=keys, weight_decay=0.01)


def _warp(optimizer: WarpAdam) -> Warp:
    assert optimizer.warp is not None
    return optimizer.warp
