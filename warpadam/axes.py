"""Which axis of which parameter has which key, and which of them a P covers.

Our own torch models carry their keys in an attribute `axis_keys`; for any other module they are given, or found by the
names of its parameters where the P has matrices for hidden axes.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from warpadam.shapes import AxisKeys, HiddenKey, key_size, merged_shape, parse_hidden_key

_SIZED_BY_MODEL = ("positions", "taps")  # models of one family may differ in these: no sign of another family's data

NamedParameters = Iterable[tuple[str, Tensor]]
Row = tuple[str | None, ...]


@dataclass(frozen=True)
class AxisCoverage:
    """One axis: whether P has a matrix for it, and if not, why; and whether it adapts within the job."""

    parameter: str
    axis: int
    size: int
    key: str | None
    covered: bool
    reason: str = ""
    size_differs: bool = False
    adapts: bool = False

    def __str__(self) -> str:
        found = self.key if self.covered else f"none ({self.reason})"
        return f"{self.parameter}[{self.axis}] size {self.size}: {found}{', adapts' if self.adapts else ''}"


@dataclass(frozen=True)
class Coverage:
    """Every axis of every parameter. Print it."""

    axes: tuple[AxisCoverage, ...]

    @property
    def covered(self) -> tuple[AxisCoverage, ...]:
        return tuple(axis for axis in self.axes if axis.covered)

    @property
    def uncovered(self) -> tuple[AxisCoverage, ...]:
        return tuple(axis for axis in self.axes if not axis.covered)

    def __str__(self) -> str:
        head = f"{len(self.covered)} of {len(self.axes)} axes have a matrix"
        return "\n".join([head, *(f"  {axis}" for axis in self.axes)])


def unwrap(model: nn.Module) -> nn.Module:
    """The module inside DistributedDataParallel, DataParallel or torch.compile, with its own names for parameters."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            inner = model.module
        else:
            inner = model._modules.get("_orig_mod")  # torch.compile's wrapper
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def own_axes(model: nn.Module) -> AxisKeys | None:
    """The keys that one of our own models carries."""
    keys = getattr(unwrap(model), "axis_keys", None)
    return keys if isinstance(keys, Mapping) else None


def find_axes(
    model_or_named_parameters: nn.Module | NamedParameters, axes: AxisKeys | None, warp_keys: Collection[str]
) -> dict[str, Row]:
    """Parameter name -> key per axis, for the parameters that have any.

    `axes` wins; else the model's own attribute `axis_keys`; else the hidden keys of the P are matched by parameter
    name, axis and size, if they all have one anchor. ValueError where `axes` does not fit the parameters.
    """
    if isinstance(model_or_named_parameters, nn.Module):
        axes = own_axes(model_or_named_parameters) if axes is None else axes
        model_or_named_parameters = unwrap(model_or_named_parameters).named_parameters()
    shapes = {name: tuple(parameter.shape) for name, parameter in model_or_named_parameters}
    return _matched(shapes, warp_keys) if axes is None else _given(shapes, axes)


def _given(shapes: Mapping[str, tuple[int, ...]], axes: AxisKeys) -> dict[str, Row]:
    for name, row in axes.items():
        if name not in shapes:
            raise ValueError(f"axes: the model has no parameter {name!r}; it has {_some(shapes)}")
        if isinstance(row, str):
            raise ValueError(f"axes: {name!r} needs one key per axis, such as (None, {row!r}), not a string")
        merged_shape(shapes[name], len(row))
        for key in row:
            if key is not None:
                key_size(key)
    return {name: tuple(row) for name, row in axes.items() if any(row)}


def _matched(shapes: Mapping[str, tuple[int, ...]], warp_keys: Collection[str]) -> dict[str, Row]:
    hidden = [found for found in map(parse_hidden_key, warp_keys) if found is not None]
    if len({key.anchor for key in hidden}) != 1:
        return {}
    fitting = {(key.name, key.axis): str(key) for key in hidden if _fits(key, shapes.get(key.name, ()))}
    return {
        name: tuple(fitting.get((name, axis)) for axis in range(len(shape)))
        for name, shape in shapes.items()
        if any(found == name for found, _ in fitting)
    }


def _fits(key: HiddenKey, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and key.axis < len(shape) and shape[key.axis] == key.size


def cover(shapes: Mapping[str, tuple[int, ...]], axes: Mapping[str, Row], warp_keys: Collection[str]) -> Coverage:
    """Which axes of these parameters the P covers. Parameters with one axis and no key are left out."""
    found: list[AxisCoverage] = []
    for name, shape in shapes.items():
        row = axes.get(name)
        if row is None and len(shape) < 2:
            continue
        row = (None,) * len(shape) if row is None else row
        for axis, (key, size) in enumerate(zip(row, merged_shape(shape, len(row)), strict=True)):
            reason, size_differs = _why_not(key, size, warp_keys)
            found.append(AxisCoverage(name, axis, size, key, not reason, reason, size_differs))
    return Coverage(tuple(found))


def _why_not(key: str | None, size: int, warp_keys: Collection[str]) -> tuple[str, bool]:
    """Why an axis has no matrix ("" where it has one), and whether that is because a size differs."""
    if key is None:
        return "no key", False
    if key_size(key) != size:
        return f"its key is {key}, its size {size}", True
    if key in warp_keys:
        return "", False
    others = _other_sizes(key, warp_keys)
    if not others:
        return f"the warp has no {key}", False
    return f"its key is {key}, the warp has {', '.join(others)}", key.rpartition(":")[0] not in _SIZED_BY_MODEL


def _other_sizes(key: str, warp_keys: Collection[str]) -> list[str]:
    """The role keys of the P that differ from this one by their size only."""
    if parse_hidden_key(key) is not None:
        return []
    role = key.rpartition(":")[0]
    return sorted(other for other in warp_keys if parse_hidden_key(other) is None and other.rpartition(":")[0] == role)


def require(coverage: Coverage, warp_keys: Collection[str]) -> None:
    """What `strict` means: ValueError where a size differs, or where no axis found a matrix."""
    for axis in coverage.uncovered:
        if axis.size_differs:
            where = f"{axis.parameter}, axis {axis.axis}"
            raise ValueError(f"{where}: a size differs, {axis.reason}. strict=False leaves such axes without a matrix")
    if not coverage.covered:
        raise ValueError(
            f"no axis of these parameters found a matrix; the warp has {_some(warp_keys)}. Pass axes={{parameter name: "
            f"(key or None for each axis)}}{_hint(coverage, warp_keys)}, or strict=False to run plain Adam"
        )


def _hint(coverage: Coverage, warp_keys: Collection[str]) -> str:
    """An example made of the first axis that has the size of one of the keys."""
    for axis in coverage.axes:
        for key in sorted(warp_keys):
            if key_size(key) == axis.size and parse_hidden_key(key) is None:
                count = sum(other.parameter == axis.parameter for other in coverage.axes)
                row = tuple(key if index == axis.axis else None for index in range(count))
                return f", for example axes={ {axis.parameter: row} }"
    return ""


def _some(names: Iterable[str], most: int = 8) -> str:
    found = list(names)
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")
