"""A checkpoint as two safetensors files: the model's state for users, and what a resume needs beside it.

The second holds every tensor of the optimizer, the random states, and the P in use (as bytes), with the rest as JSON
in its metadata. Nothing is pickled; a resumed run goes on bit for bit as if it had never stopped.
"""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from workers.failures import BadInputError

FORMAT = "warpadam.resume/1"


@dataclass(frozen=True)
class Position:
    """Where a run is, beside its tensors."""

    step: int
    warp_version: int | None = None
    warp_changed_at: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    seconds: float = 0.0
    """Time spent training in earlier attempts."""


def encode_model(model: nn.Module) -> bytes:
    """The model's state; parameters have their own names. What is shared by several names is written under each."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        plain = tensor.detach().cpu().contiguous()
        tensors[name] = plain.clone() if plain.untyped_storage().data_ptr() in seen else plain
        seen.add(plain.untyped_storage().data_ptr())
    return save(tensors)


def load_model(model: nn.Module, data: bytes, fresh: Collection[str] = ()) -> None:
    """Puts the weights of a file into the model, but for tensors that are to stay `fresh`.

    BadInputError names the first tensor that does not fit.
    """
    expected = model.state_dict()
    found = {**read(data, "checkpoint"), **{name: expected[name] for name in fresh}}
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            raise BadInputError(f"the checkpoint has no tensor {name!r}, which the job's model has: use the same model")
        if name not in expected:
            raise BadInputError(
                f"the checkpoint has a tensor {name!r}, which the job's model has not: use the same model"
            )
        if found[name].shape != expected[name].shape:
            raise BadInputError(
                f"{name}: the checkpoint has shape {tuple(found[name].shape)}, "
                f"the job's model {tuple(expected[name].shape)}: use the same model"
            )
    model.load_state_dict(found)


def encode_state(optimizer: torch.optim.Optimizer, position: Position, warp: bytes | None) -> bytes:
    """What a resume needs beside the model."""
    tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    if warp is not None:
        tensors["warp"] = torch.frombuffer(bytearray(warp), dtype=torch.uint8)
    state = optimizer.state_dict()
    plain: dict[str, dict[str, object]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value.detach().cpu().contiguous()
            else:
                plain.setdefault(str(index), {})[name] = value
    document = {"position": asdict(position), "groups": state["param_groups"], "plain": plain}
    return save(tensors, {"format": FORMAT, "state": json.dumps(document)})


def load_state(optimizer: torch.optim.Optimizer, data: bytes) -> Position:
    """Restores optimizer and random states. The P in use must be in the optimizer already (`warp_of`)."""
    tensors, document = read(data, "resume state"), _document(data)
    state: dict[int, dict[str, object]] = {int(index): dict(values) for index, values in document["plain"].items()}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".", 2)
            state.setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": _groups(optimizer, document["groups"])})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return Position(**document["position"])


def position_of(data: bytes) -> Position:
    """Where the run was that saved this state."""
    return Position(**_document(data)["position"])


def warp_of(data: bytes) -> tuple[int | None, bytes | None]:
    """Version and bytes of the P that was in use when this state was saved."""
    tensors = read(data, "resume state")
    warp = bytes(tensors["warp"].numpy()) if "warp" in tensors else None
    return position_of(data).warp_version, warp


def _groups(optimizer: torch.optim.Optimizer, stored: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stored groups with the types that JSON does not keep (tuples) as the optimizer has them."""
    current = optimizer.state_dict()["param_groups"]
    return [
        {
            name: tuple(value) if isinstance(now.get(name), tuple) and isinstance(value, list) else value
            for name, value in group.items()
        }
        for group, now in zip(stored, current, strict=True)
    ]


def read(data: bytes, what: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. BadInputError where it is none."""
    try:
        return load(data)
    except SafetensorError as error:
        raise BadInputError(f"the {what} is no safetensors file ({error}): upload it again") from error


class _Document(TypedDict):
    position: dict[str, Any]
    groups: list[dict[str, Any]]
    plain: dict[str, dict[str, object]]


def _document(data: bytes) -> _Document:
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise BadInputError(f"the resume state has format {metadata.get('format')!r}, not {FORMAT!r}")
    document: _Document = json.loads(metadata["state"])
    return document
