"""Times of things that are compared: taken in turns, so that what else the machine does falls on all of them alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds by name, `repeats` of each after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in seconds.items()}


def median_of(seconds: Mapping[str, list[float]], value: Callable[[Mapping[str, float]], float]) -> float:
    """The median over the turns of something made of one turn's times: the machine's drift cancels in a ratio."""
    turns = zip(*seconds.values(), strict=True)
    return median(value(dict(zip(seconds, turn, strict=True))) for turn in turns)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
