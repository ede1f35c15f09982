"""Axis keys of models that user code makes. No torch: the meta-learner asks here too, and has no such model.

A module may declare what its outer axes mean, `warp_axes = {"head.weight": ("output:16", None)}`. Invariants: a role
that the dataset gives a size has that size; hidden axes get keys only under the job's anchor; a role key is shared by
SHARED_AT_MOST axes at most, which bounds what one step of such a job can add to its family's statistics.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from warpadam import shapes
from warpadam.shapes import HiddenKey, Model, key_size, merged_shape, parse_hidden_key

SHARED_AT_MOST = 64
Row = tuple[str | None, ...]


def axis_keys(
    model: Model, parameters: Mapping[str, tuple[int, ...]], declared: object, anchor: str | None, max_axis: int
) -> dict[str, Row]:
    """Parameter name -> key per axis, for parameters of two or more dimensions.

    `parameters`: their shapes by name. `declared`: the module's `warp_axes`, None where it has none. ValueError says
    what to change there.
    """
    rows = _declared(declared, parameters)
    roles = shapes.outer_sizes(model)
    for name, row in rows.items():
        for axis, (key, size) in enumerate(zip(row, merged_shape(parameters[name], len(row)), strict=True)):
            if key is not None:
                _check(f"warp_axes[{name!r}][{axis}]", key, size, roles)
    found = {}
    for name, shape in parameters.items():
        if len(shape) > 1:
            row = rows.get(name, (None,) * len(shape))
            sizes = merged_shape(shape, len(row))
            found[name] = tuple(_key(name, axis, row[axis], sizes[axis], anchor, max_axis) for axis in range(len(row)))
    for key, count in Counter(key for row in found.values() for key in row if key is not None).items():
        if count > SHARED_AT_MOST:
            raise ValueError(f"warp_axes: {count} axes are {key}; at most {SHARED_AT_MOST} may share a key")
    return found


def believable(
    model: Model, anchor: str | None, keys: Iterable[str], max_axis: int
) -> tuple[dict[str, int], dict[str, int]]:
    """Size, and number of axes at most, of those keys that a contribution of such a job may hold."""
    roles = shapes.outer_sizes(model)
    sizes, sharing = {}, {}
    for key in keys:
        try:
            size = key_size(key)
        except ValueError:
            continue
        hidden = parse_hidden_key(key)
        fits = roles.get(key.rpartition(":")[0], size) == size if hidden is None else hidden.anchor == anchor
        if fits and 1 < size <= max_axis:
            sizes[key], sharing[key] = size, SHARED_AT_MOST if hidden is None else 1
    return sizes, sharing


def _declared(declared: object, parameters: Mapping[str, tuple[int, ...]]) -> dict[str, Row]:
    if declared is None:
        return {}
    if not isinstance(declared, Mapping):
        raise ValueError(f"warp_axes must be a dict of parameter name to axis keys, not {type(declared).__name__}")
    rows: dict[str, Row] = {}
    for name, row in declared.items():
        if name not in parameters:
            names = ", ".join(list(parameters)[:8])
            raise ValueError(
                f"warp_axes names {name!r}, and the module has no such trainable parameter: it has {names}"
            )
        shape = parameters[name]
        if len(shape) < 2:
            raise ValueError(f"warp_axes names {name!r}, which has one axis: such parameters get no P, leave it out")
        if not isinstance(row, tuple | list) or not all(key is None or isinstance(key, str) for key in row):
            raise ValueError(f"warp_axes[{name!r}] must be a tuple of a key or None for each axis, not {row!r:.100}")
        if not 1 <= len(row) <= len(shape):
            raise ValueError(f"warp_axes[{name!r}] has {len(row)} keys, the parameter {len(shape)} axes")
        rows[name] = tuple(row)
    return rows


def _check(where: str, key: str, size: int, roles: Mapping[str, int]) -> None:
    if parse_hidden_key(key) is not None or key.startswith("param:"):
        raise ValueError(f"{where} is {key}: keys of hidden axes are made by the service, declare None")
    if key_size(key) != size:
        raise ValueError(f"{where} is {key}, and that axis has the size {size}")
    role = key.rpartition(":")[0]
    if roles.get(role, size) != size:
        raise ValueError(f"{where} is {key}, and of this dataset it would be {role}:{roles[role]}")


def _key(name: str, axis: int, key: str | None, size: int, anchor: str | None, max_axis: int) -> str | None:
    if not 1 < size <= max_axis:
        return None
    if key is not None:
        return key
    return None if anchor is None else str(HiddenKey(name, axis, size, anchor))
