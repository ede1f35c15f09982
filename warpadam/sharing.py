"""Choices of fewer and cheaper matrices, as maps from axis keys to axis keys. No torch.

The default keys (`shapes.axis_keys`) give every aligned hidden axis a matrix of its own. Each function here gives keys
that differ where it says so and nowhere else, so a P that was learned under one choice is never mistaken for another's:
shared axes have names that no parameter has.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from warpadam.shapes import AxisKeys, HiddenKey, key_size, parse_hidden_key

_QKV = re.compile(r"(?P<block>.+)\.(?:q|k|v)\.weight")
_INTO_STREAM = re.compile(r"blocks\.\d+\.(?:o|down)\.weight")
_OFF_STREAM = re.compile(r"blocks\.\d+\.(?:q|k|v|up)\.weight|tokens\.weight|positions\.weight|head\.weight")
_OUT_ROLES = ("output", "tokens.out")
_ROW_ROLES = ("tokens.in", "positions")
"""Roles of the rows of an embedding, which are what it reads."""

Keys = dict[str, tuple[str | None, ...]]


def share_inputs(keys: AxisKeys) -> Keys:
    """q, k and v of a layer read one input: one matrix for their input axes, `param:<block>.qkv:1:<size>@<anchor>`."""

    def shared(key: HiddenKey) -> HiddenKey:
        found = _QKV.fullmatch(key.name)
        return replace(key, name=f"{found['block']}.qkv") if found and key.axis == 1 else key

    return _renamed(keys, shared)


def share_stream(keys: AxisKeys) -> Keys:
    """Every axis that reads or writes the residual stream of a transformer has one matrix: `param:stream:0:<size>@…`.

    That is the width of the embeddings and of the head, the inputs of q, k, v and up, and the outputs of o and down.
    """

    def shared(key: HiddenKey) -> HiddenKey:
        pattern = _OFF_STREAM if key.axis == 1 else _INTO_STREAM
        return replace(key, name="stream", axis=0) if pattern.fullmatch(key.name) else key

    return _renamed(keys, shared)


def only_inputs(keys: AxisKeys) -> Keys:
    """Matrices only for what a parameter reads: half the cost. An embedding reads by its rows, others by the rest."""
    return {
        name: tuple(key if _is_input(row, axis) else None for axis, key in enumerate(row)) for name, row in keys.items()
    }


def within(keys: AxisKeys, parameters: Mapping[str, Sequence[int]], ratio: float = 1.0) -> Keys:
    """Only as many keys as their matrices together have at most `ratio` times as many numbers as the parameters.

    `parameters`: name -> shape, of all parameters. First those whose matrix is small beside the parameters that use it.
    """
    if ratio <= 0:
        raise ValueError(f"ratio must be above 0, not {ratio}")
    used: dict[str, int] = {}
    for name, row in keys.items():
        for key in filter(None, row):
            used[key] = used.get(key, 0) + prod(parameters[name])
    room = ratio * sum(prod(shape) for shape in parameters.values())
    kept: set[str] = set()
    for key in sorted(used, key=lambda key: (key_size(key) ** 2 / used[key], key)):
        if key_size(key) ** 2 <= room:
            room -= key_size(key) ** 2
            kept.add(key)
    return {name: tuple(key if key in kept else None for key in row) for name, row in keys.items()}


def _is_input(row: Sequence[str | None], axis: int) -> bool:
    role = (row[axis] or "").rpartition(":")[0]
    if role in _OUT_ROLES:
        return False
    reads_rows = (row[0] or "").rpartition(":")[0] in _ROW_ROLES
    return axis == 0 if reads_rows else axis > 0


def _renamed(keys: AxisKeys, rename: Callable[[HiddenKey], HiddenKey]) -> Keys:
    def new(key: str | None) -> str | None:
        hidden = None if key is None else parse_hidden_key(key)
        return key if hidden is None else str(rename(hidden))

    return {name: tuple(map(new, row)) for name, row in keys.items()}
