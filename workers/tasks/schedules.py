"""Learning rate schedules: a factor in [0, 1] for each step, counted from 0."""

import math
from typing import Literal

Schedule = Literal["cosine", "linear", "constant"]


def factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """What the learning rate is multiplied with at `step` of `steps`.

    The first `warmup` steps rise linearly to 1; then cosine and linear fall to zero, which they would reach at `steps`:
    the last step is a small one, never an empty one.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    match schedule:
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * done))
        case "linear":
            return 1 - done
        case "constant":
            return 1.0
