"""What every process would train again to begin with, kept by what it is made from: the base, the contributors."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FOLDER = Path.home() / ".cache" / "warpadam-bench"


def kept(name: str, made_from: str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives, from the disk where it was made from the same before. A broken file is made anew."""
    place = FOLDER / f"{name}-{hashlib.sha256(made_from.encode()).hexdigest()[:16]}.pt"
    if place.exists():
        try:
            return dict(torch.load(place, weights_only=True))
        except (RuntimeError, EOFError):
            place.unlink()
    found = dict(make())
    FOLDER.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(f".{np.random.default_rng().integers(2**32)}")
    torch.save(found, partial)
    partial.rename(place)
    return found
