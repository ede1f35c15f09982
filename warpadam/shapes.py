"""The parameters of our own models, and the keys of their axes, by arithmetic alone.

A *resolved model* is the JSON description of a model with its sizes filled in from the dataset:

    {"arch": "mlp", "hidden": [128], "activation": "relu", "input": 48, "output": 16}
    {"arch": "convnet", "channels": [16, 32], "kernel": 3, "input": [H, W, C], "output": 10}
    {"arch": "transformer", "layers": 2, "width": 64, "heads": 4, "context": 64, "vocabulary": 256}

One that user code makes has no `arch`, and parameters that nobody knows who does not run it:

    {"entrypoint": "net:build", "package": <sha256>, "kwargs": {}, "input": [48], "output": 16}
    {"entrypoint": "net:build", "package": <sha256>, "kwargs": {"context": 64}, "context": 64, "vocabulary": 256}

So has one of another library, which its own configuration describes:

    {"kind": "transformers", "config": {"model_type": "gpt2", …}, "context": 64, "vocabulary": 256}

Two invariants: `parameters` lists what the torch modules have, in their order and under their names; and an axis that
means the same in every job has a role key (`input:48`) whatever the model's width or depth, while a hidden axis has a
key only where an anchor says that it is aligned.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

Model = Mapping[str, object]
"""A resolved model."""

AxisKeys = Mapping[str, Sequence[str | None]]
"""Parameter name -> one key per axis, None where the axis has no matrix."""

MAX_AXIS = 512

_ROLE_KEY = re.compile(r"[a-z][a-z0-9_.\-]*:([1-9][0-9]{0,8})")
_HIDDEN_KEY = re.compile(r"param:(.+):(0|[1-9][0-9]{0,2}):([1-9][0-9]{0,8})@([0-9a-f]{12})")


@dataclass(frozen=True)
class ParameterShape:
    """One parameter: its torch name and shape, and the role key of each axis (None: a hidden axis).

    `roles` may be shorter than `shape`: the trailing dimensions are then merged into the last axis, so that a conv
    kernel (16, 3, 3, 3) has the axes (hidden, "channels:3", "taps:9").
    """

    name: str
    shape: tuple[int, ...]
    roles: tuple[str | None, ...]

    @property
    def axes(self) -> tuple[int, ...]:
        """The sizes of the axes, trailing dimensions merged."""
        return merged_shape(self.shape, len(self.roles))


@dataclass(frozen=True)
class HiddenKey:
    """What a key of a hidden axis says: `param:<name>:<axis>:<size>@<anchor>`."""

    name: str
    axis: int
    size: int
    anchor: str

    def __str__(self) -> str:
        return f"param:{self.name}:{self.axis}:{self.size}@{self.anchor}"


def merged_shape(shape: Sequence[int], axes: int) -> tuple[int, ...]:
    """`shape` with its trailing dimensions merged so that `axes` remain: (16, 3, 3, 3) with 3 axes is (16, 3, 9)."""
    if not 1 <= axes <= len(shape):
        raise ValueError(f"a tensor of shape {tuple(shape)} has 1 to {len(shape)} axes, not {axes}")
    last = 1
    for size in shape[axes - 1 :]:
        last *= size
    return (*shape[: axes - 1], last)


def parse_hidden_key(key: str) -> HiddenKey | None:
    """The parts of a hidden axis's key; None when it is not such a key."""
    match = _HIDDEN_KEY.fullmatch(key)
    return None if match is None else HiddenKey(match[1], int(match[2]), int(match[3]), match[4])


def key_size(key: str) -> int:
    """The size of the axis that a key names. ValueError when the key is malformed."""
    hidden = parse_hidden_key(key)
    if hidden is not None:
        return hidden.size
    match = _ROLE_KEY.fullmatch(key)
    if match is None:
        raise ValueError(
            f"{key!r} is not an axis key: use role:size, such as input:48, or param:<name>:<axis>:<size>@<anchor>"
        )
    return int(match[1])


def parameters(model: Model) -> tuple[ParameterShape, ...]:
    """The parameters of a resolved model, in the order and under the names of the torch modules."""
    arch = model.get("arch")
    if not isinstance(arch, str) or arch not in _ARCHITECTURES:
        raise ValueError(f"model.arch {arch!r} is none of {', '.join(_ARCHITECTURES)}")
    return tuple(_ARCHITECTURES[arch](model))


def _mlp(model: Model) -> Iterator[ParameterShape]:
    inputs, outputs = _size(model, "input"), _size(model, "output")
    widths = [inputs, *_sizes(model, "hidden"), outputs]
    last = len(widths) - 2
    for index, (n_in, n_out) in enumerate(pairwise(widths)):
        out_role = f"output:{outputs}" if index == last else None
        in_role = f"input:{inputs}" if index == 0 else None
        yield ParameterShape(f"layers.{index}.weight", (n_out, n_in), (out_role, in_role))
        yield ParameterShape(f"layers.{index}.bias", (n_out,), (out_role,))


def _convnet(model: Model) -> Iterator[ParameterShape]:
    image = _sizes(model, "input")
    if len(image) != 3:
        raise ValueError(f"model.input of a convnet is [height, width, channels], not {list(image)}")
    kernel, outputs = _size(model, "kernel"), _size(model, "output")
    widths = [image[2], *_sizes(model, "channels")]
    if len(widths) == 1:
        raise ValueError("model.channels of a convnet needs at least one stage")
    for index, (n_in, n_out) in enumerate(pairwise(widths)):
        in_role = f"channels:{n_in}" if index == 0 else None
        roles = (None, in_role, f"taps:{kernel * kernel}")
        yield ParameterShape(f"convs.{index}.weight", (n_out, n_in, kernel, kernel), roles)
        yield ParameterShape(f"convs.{index}.bias", (n_out,), (None,))
    yield ParameterShape("head.weight", (outputs, widths[-1]), (f"output:{outputs}", None))
    yield ParameterShape("head.bias", (outputs,), (f"output:{outputs}",))


def _transformer(model: Model) -> Iterator[ParameterShape]:
    width, context = _size(model, "width"), _size(model, "context")
    vocabulary = _size(model, "vocabulary")
    yield ParameterShape("tokens.weight", (vocabulary, width), (f"tokens.in:{vocabulary}", None))
    yield ParameterShape("positions.weight", (context, width), (f"positions:{context}", None))
    for index in range(_size(model, "layers")):
        yield from _block(f"blocks.{index}", width)
    yield from _norm("norm", width)
    yield ParameterShape("head.weight", (vocabulary, width), (f"tokens.out:{vocabulary}", None))


def _block(name: str, width: int) -> Iterator[ParameterShape]:
    yield from _norm(f"{name}.norm1", width)
    for projection in ("q", "k", "v", "o"):
        yield ParameterShape(f"{name}.{projection}.weight", (width, width), (None, None))
    yield from _norm(f"{name}.norm2", width)
    yield ParameterShape(f"{name}.up.weight", (4 * width, width), (None, None))
    yield ParameterShape(f"{name}.down.weight", (width, 4 * width), (None, None))


def _norm(name: str, width: int) -> Iterator[ParameterShape]:
    yield ParameterShape(f"{name}.weight", (width,), (None,))
    yield ParameterShape(f"{name}.bias", (width,), (None,))


_ARCHITECTURES: dict[str, Callable[[Model], Iterator[ParameterShape]]] = {
    "mlp": _mlp,
    "convnet": _convnet,
    "transformer": _transformer,
}


def is_code(model: Model) -> bool:
    """Whether user code makes this model, so that `parameters` and `axis_keys` cannot say what it has."""
    return model.get("entrypoint") is not None


def is_named(model: Model) -> bool:
    """Whether another library has it under a name."""
    return model.get("kind") is not None


def is_foreign(model: Model) -> bool:
    """Whether only who builds it knows its parameters: user code's, or another library's."""
    return is_code(model) or is_named(model)


def outer_sizes(model: Model) -> dict[str, int]:
    """Role -> size of the axes that mean the same in every job, as far as the dataset says; of foreign models."""
    if model.get("vocabulary") is not None:
        vocabulary = _size(model, "vocabulary")
        return {"tokens.in": vocabulary, "tokens.out": vocabulary, "positions": _size(model, "context")}
    shape = _sizes(model, "input")
    sizes = {"input": prod(shape), "output": _size(model, "output")}
    return {**sizes, "channels": shape[2]} if len(shape) == 3 else sizes


def canonical_json(model: Model) -> str:
    """JSON with sorted keys and no spaces: equal models, equal text."""
    return json.dumps(model, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def anchor(model: Model, identity: str) -> str:
    """What hidden axes are aligned with: 12 hex digits of the model and its start.

    `identity` is "family" where the weights grew from the family's seed, else the base checkpoint's sha256.
    """
    return hashlib.sha256(canonical_json({"model": model, "init": identity}).encode()).hexdigest()[:12]


def init_seed(family: str, model: Model) -> int:
    """The seed of version 0 of a family's own start, below 2**63."""
    digest = hashlib.sha256((family + canonical_json(model)).encode()).digest()
    return int.from_bytes(digest[:8], "big") & (2**63 - 1)


def axis_keys(model: Model, anchor: str | None, max_axis: int = MAX_AXIS) -> dict[str, tuple[str | None, ...]]:
    """Parameter name -> key per axis. 1-D parameters are absent; axes of size 1 or above `max_axis` have None.

    Hidden axes have a key only where `anchor` says that they are aligned between jobs.
    """
    keys: dict[str, tuple[str | None, ...]] = {}
    for parameter in parameters(model):
        if len(parameter.shape) > 1:
            keys[parameter.name] = tuple(
                _axis_key(parameter, axis, anchor, max_axis) for axis in range(len(parameter.axes))
            )
    return keys


def _axis_key(parameter: ParameterShape, axis: int, anchor: str | None, max_axis: int) -> str | None:
    size, role = parameter.axes[axis], parameter.roles[axis]
    if not 1 < size <= max_axis:
        return None
    if role is not None:
        return role
    return None if anchor is None else str(HiddenKey(parameter.name, axis, size, anchor))


def sizes_by_key(keys: AxisKeys) -> dict[str, int]:
    """Key -> size of its matrix, over all parameters."""
    return {key: key_size(key) for key in _all_keys(keys)}


def sharing_by_key(keys: AxisKeys) -> dict[str, int]:
    """Key -> how many parameter axes share it."""
    return dict(Counter(_all_keys(keys)))


def _all_keys(keys: AxisKeys) -> Iterator[str]:
    return (key for row in keys.values() for key in row if key is not None)


def _size(model: Model, field: str) -> int:
    value = model.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"model.{field} must be a whole number of at least 1, not {value!r}")
    return value


def _sizes(model: Model, field: str) -> tuple[int, ...]:
    value = model.get(field)
    if not isinstance(value, list | tuple):
        raise ValueError(f"model.{field} must be a list of sizes, not {value!r}")
    return tuple(_size({field: item}, field) for item in value)
