"""The validation part of a dataset that has none: a draw by seed for rows, the end for text."""

import numpy as np
from numpy.typing import NDArray

from service.data.errors import DataError

Rows = NDArray[np.int64]


def held_out(total: int, fraction: float) -> int:
    """How many of `total` go to validation: at least one, and never all."""
    return min(max(1, round(total * fraction)), total - 1)


def draw(total: int, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Row numbers of training and validation, each ascending; the same for the same arguments for ever.

    The rows are ordered by a raw PCG64 stream, which numpy promises not to change (its permutations it may).
    """
    if total < 2:
        raise DataError(f"There are {total} rows; at least 2 are needed, one to train on and one to validate on.")
    order = np.argsort(np.random.PCG64(seed).random_raw(total), kind="stable").astype(np.int64)
    count = held_out(total, fraction)
    return np.sort(order[count:]), np.sort(order[:count])
