"""Where a dataset's arrays lie: in memory, or, where they are large, in files that the system maps.

A mapped array is used like any other, in blocks: what is not looked at is not in memory, so data may be larger than it.
Its file has no name any more, so it goes with the array, however the process ends. Its room is reserved beforehand: a
disk that fills up is an error here, not a signal in the middle of a step.
"""

import math
import os
import tempfile
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
from numpy.typing import DTypeLike

from service.data.limits import Limits
from service.data.raw import Array
from service.storage import full_is_told

CHUNK = 1 << 20


def empty(shape: Sequence[int], dtype: DTypeLike, limits: Limits) -> Array:
    """A new array, zeros or anything else in it. Raises StorageFull where the disk has no room for it."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size <= limits.memory_bytes:
        return np.empty(tuple(shape), kind)
    if limits.scratch is not None:
        limits.scratch.mkdir(parents=True, exist_ok=True)
    with full_is_told(), tempfile.TemporaryFile(prefix="warpadam-", dir=limits.scratch) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        # A plain array: pickled, a subclass would be copied into memory whole.
        return np.memmap(file, kind, "r+", shape=tuple(shape)).view(np.ndarray)


def fill(array: Array, file: BinaryIO) -> None:
    """Reads the bytes of a C-contiguous array, a piece at a time. Raises EOFError where the file has fewer."""
    into = memoryview(array.reshape(-1).view(np.uint8).data)
    done = 0
    while done < len(into):
        piece = file.read(min(CHUNK, len(into) - done))
        if not piece:
            raise EOFError(f"it ends after {done} of {len(into)} bytes")
        into[done : done + len(piece)] = piece
        done += len(piece)
