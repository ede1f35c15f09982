"""What a contribution must be, before it is added to anything. No torch."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from warpadam.learn.packed import SCALE, ContributionError, axis_of, is_next, next_name, packed_size, unpack
from warpadam.learn.statistics import MAX_CONTRIBUTION_BYTES, Contribution

PAIRED_RULE = "hypergradient"
"""The rule whose contributions also hold the products of each gradient with the next."""
PSD_TOLERANCE = 1e-5
"""How far below zero, as a share of the trace, the rounding of a float32 product may push an eigenvalue."""


def check_contribution(
    contribution: Contribution,
    sizes: Mapping[str, int],
    *,
    sharing: Mapping[str, int] | None = None,
    max_bytes: int = MAX_CONTRIBUTION_BYTES,
) -> None:
    """Raise ContributionError unless this is something that a worker can have seen.

    `sizes`: expected key -> size (`shapes.sizes_by_key`). `sharing`: key -> number of parameter axes that share it
    (`shapes.sharing_by_key`); every one of them adds at most 1 to the trace in each step. Without it only the sign of
    the trace is checked.
    """
    if contribution.start < 0 or contribution.end <= contribution.start or contribution.sequence < 0:
        message = f"steps [{contribution.start}, {contribution.end}) with sequence {contribution.sequence} are none"
        raise ContributionError("bad_interval", message)
    if contribution.skipped < 0 or contribution.attempt < 0:
        raise ContributionError("bad_interval", "attempt and skipped are counts, and cannot be negative")
    weight = sum(packed.nbytes for packed in contribution.sums.values())
    if weight > max_bytes:
        raise ContributionError("too_large", f"{weight} bytes of statistics; at most {max_bytes} are accepted")
    _check_names(contribution)
    for name, packed in contribution.sums.items():
        key = axis_of(name)
        if key not in sizes:
            raise ContributionError("unknown_key", f"{key}: no axis of this job's model has this key")
        if packed_size(packed) != sizes[key]:
            message = f"{key}: a triangle of size {packed_size(packed)}, the axis has {sizes[key]}"
            raise ContributionError("bad_shape", message)
        most = None if sharing is None else contribution.steps * sharing.get(key, 0)
        if is_next(name):
            _check_products(key, unpack(packed), most)
        else:
            _check_moment(key, unpack(packed), most)


def _check_names(contribution: Contribution) -> None:
    """Under `hypergradient` each axis has two sums, under any other rule one."""
    moments = {name for name in contribution.sums if not is_next(name)}
    due = {next_name(key) for key in moments} if contribution.rule == PAIRED_RULE else set()
    wrong = due ^ (contribution.sums.keys() - moments)
    if wrong:
        raise ContributionError("unknown_key", f"{min(wrong)}: not what a contribution of {contribution.rule} holds")


def _check_products(key: str, matrix: NDArray[np.float64], most: int | None) -> None:
    """The products of unit gradients with the next ones: no direction holds more than one for each step and axis."""
    largest = float(np.abs(np.linalg.eigvalsh(matrix)).max())
    if most is not None and largest > most * (1 + PSD_TOLERANCE) + len(matrix) / SCALE:
        message = f"{key}: products with the next gradient up to {largest:g}; at most {most} is possible"
        raise ContributionError("bad_trace", message)


def _check_moment(key: str, matrix: NDArray[np.float64], most: int | None) -> None:
    trace = float(np.trace(matrix))
    rounding = len(matrix) / SCALE
    if trace < -rounding or (most is not None and trace > most * (1 + PSD_TOLERANCE) + rounding):
        bound = "must be at least 0" if most is None else f"must be from 0 to {most}"
        raise ContributionError("bad_trace", f"{key}: the trace is {trace:g}; it {bound}")
    smallest = float(np.linalg.eigvalsh(matrix)[0])
    if smallest < -(PSD_TOLERANCE * max(trace, 0.0) + rounding):
        raise ContributionError(
            "not_psd", f"{key}: not positive semi-definite, the smallest eigenvalue is {smallest:g}"
        )
