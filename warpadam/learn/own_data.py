"""`warp: data`: a basis for the outer axes from the job's own training data, for a family that has no P yet. No torch.

For a layer at an outer axis the gradient is G = mean over the batch of e_b x_bᵀ, x the inputs of the layer and e the
loss's derivative at its outputs. At initialisation the derivative that reaches the first layer is as random as the
weights above it, so E[unfold(G) unfold(G)ᵀ] along its inputs is E[x xᵀ] up to a factor; along the last layer's outputs
it is E[e eᵀ], by the same argument for its random features. That is a second moment about zero, not a covariance: data
that is not centred gives a gradient that is not, and its mean is most often the largest direction of all. Hence

    input:n      E[x xᵀ] of the rows, flattened as the model flattens them
    channels:c   E[x xᵀ] over channels, of the pixels of the images
    taps:k²      E[x xᵀ] over the places of a k × k patch, zero-padded as the model pads; later layers share it
    output:n     E[e eᵀ] with e = y for values, and e = one-hot(y) - 1/n for classes: nothing is known of y yet

`tokens.in`, `tokens.out` and `positions` get no matrix. Inputs there are one-hot, so E[x xᵀ] is diagonal and its basis
a permutation, which does nothing; all positions are met equally often and differ by nothing; and the second moment of
one-hot targets over a vocabulary is diagonal but for two directions. What is left is the mean gradient, the table of
which byte follows which: its singular vectors were worse than none at `tokens.in`, and at `tokens.out` 1.5 % better at
the best learning rate, 20 % worse at a fourth of it. Hidden axes are not in the data at all.

Measured on digits (MLP of 128, both tuned on one grid of learning rates, geometric mean of 3 seeds, validation loss):
inpainting the lower half after 100 steps AdamW 0.0518, centred 0.0513, about zero 0.0439; after 300 with β2 = .95
0.0382, 0.0378, 0.0360; classes after 100 steps 0.0736, 0.0678, 0.0574; where columns were standardised, so that both
moments are one, inpainting 0.732 and 0.702, classes 0.079 and 0.055. A convnet (16, 32; classes after 100 steps, 2
seeds): AdamW 0.500, with taps 0.128, with taps and output 0.116. The gain is the inputs'; `output` alone does nothing
on digits. Adding the mean gradient of the first step to each moment changed little, for better or worse.
"""

from collections.abc import Iterable
from math import isqrt

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from warpadam.learn.covariance import basis
from warpadam.shapes import key_size, parse_hidden_key

MAX_ROWS = 50_000
"""More rows than this are thinned to this many, evenly spaced."""
MAX_VALUES = 2**28
"""So are rows that unfold to more values than this: large images, of which fewer say as much."""
CHUNK_VALUES = 2**22
"""About how many float64 values are unfolded at a time."""

Array = NDArray[np.generic]
Matrix = NDArray[np.float64]


def matrices(
    x_train: Array, y_train: Array, task: str, keys: Iterable[str], *, max_rows: int = MAX_ROWS
) -> dict[str, NDArray[np.float32]]:
    """Orthogonal matrices by axis key, for those of `keys` that the data says something of; may be empty.

    `x_train` (N, ...) are rows or images (N, H, W, C); `y_train` (N, k) values, or (N,) class ids where `task` is
    classification. A pure function of these: equal bytes on one machine, as `covariance.basis` promises.
    """
    found = moments(x_train, y_train, task, keys, max_rows=max_rows)
    return {key: basis(moment)[0] for key, moment in found.items()}


def moments(
    x_train: Array, y_train: Array, task: str, keys: Iterable[str], *, max_rows: int = MAX_ROWS
) -> dict[str, Matrix]:
    """The moments that these are the eigenbases of, each of trace 1: also a prior for `covariance.solve`."""
    found: dict[str, Matrix] = {}
    if task == "language_modeling":
        return found
    with threadpool_limits(limits=1):
        for key in sorted(set(keys)):
            moment = None if parse_hidden_key(key) else _moment(key, x_train, y_train, task, max_rows)
            if moment is not None and moment.any():
                found[key] = moment / np.trace(moment)
    return found


def _moment(key: str, x: Array, y: Array, task: str, most: int) -> Matrix | None:
    """Sum of the outer products along the axis of this key (n, n); None where the data does not know the axis."""
    role, size = key.rpartition(":")[0], key_size(key)
    match role:
        case "input":
            unfolded = (part.reshape(len(part), -1) for part in _chunks(x, most))
        case "channels":
            unfolded = (part.reshape(-1, size) for part in _chunks(x, most))
        case "taps":
            unfolded = (_patches(part, isqrt(size)) for part in _chunks(x, most, unfolds_to=size))
        case "output":
            unfolded = (_errors(part, size, task) for part in _chunks(y, most))
        case _:
            return None
    total = np.zeros((size, size))
    for part in unfolded:
        total += part.T @ part
    return total


def _chunks(array: Array, most: int, unfolds_to: int = 1) -> Iterable[Matrix]:
    """The rows as float64, a few at a time; too many are thinned evenly."""
    values = max(1, array[:1].size) * unfolds_to
    kept = min(len(array), most, max(1, MAX_VALUES // values))
    rows = np.arange(kept, dtype=np.int64) * len(array) // max(1, kept)
    step = max(1, CHUNK_VALUES // values)
    for start in range(0, kept, step):
        yield array[rows[start : start + step]].astype(np.float64)


def _patches(x_NHWC: Matrix, kernel: int) -> Matrix:
    """(N, H, W, C) -> (N·H·W·C, kernel²): what each place of a convolution's window sees, zeros around the image."""
    edge = kernel // 2
    padded = np.pad(x_NHWC, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return windows.reshape(-1, kernel * kernel)


def _errors(y: Matrix, size: int, task: str) -> Matrix:
    """(N, size): the loss's derivative at the outputs while they are still zero, up to sign and factor."""
    if task != "classification":
        return y.reshape(len(y), size)
    return np.eye(size)[y.astype(np.int64)] - 1.0 / size
