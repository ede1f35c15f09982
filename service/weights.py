"""Weights that a user uploads: their own base model, as safetensors.

The header (8 bytes of length, then JSON) must account for every byte of the file, once; then the numbers are looked
through a piece at a time. So a file of any size is checked without being held, and nothing in it is ever executed.
"""

import json
import math
from datetime import datetime
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service.db.models import Checkpoint
from service.errors import InvalidRequest
from service.ids import new_id
from service.storage import Storage, Stored

MAX_HEADER_BYTES = 16 * 2**20
_CHUNK = 1 << 20
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}
_EXPONENTS: dict[str, tuple[np.dtype[np.unsignedinteger[Any]], np.unsignedinteger[Any]]] = {
    "F64": (np.dtype("<u8"), np.uint64(0x7FF0_0000_0000_0000)),
    "F32": (np.dtype("<u4"), np.uint32(0x7F80_0000)),
    "F16": (np.dtype("<u2"), np.uint16(0x7C00)),
    "BF16": (np.dtype("<u2"), np.uint16(0x7F80)),
}


def check(storage: Storage, stored: Stored) -> None:
    """Raises InvalidRequest unless the stored file is whole safetensors with at least one tensor."""
    with storage.open(stored.path) as file:
        try:
            header = _header(file, stored.size)
            ends = sorted(_interval(name, tensor) for name, tensor in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidRequest(
                f"This file is not safetensors ({error}): save the model's state with safetensors.torch.save_file.",
                param="file",
            ) from error
        begin = file.tell()
    payload = stored.size - begin
    if not ends:
        raise InvalidRequest("This file has no tensors.", param="file")
    starts = [0, *(end for _, end in ends)]
    if [start for start, _ in ends] != starts[:-1] or starts[-1] != payload:
        raise InvalidRequest("This file is not whole: its tensors do not fill it. Upload it again.", param="file")
    with storage.open(stored.path) as file:
        for name, tensor in header.items():
            if tensor.get("dtype") in _EXPONENTS:
                _check_finite(file, begin, name, tensor)


def _check_finite(file: BinaryIO, begin: int, name: str, tensor: dict[str, Any]) -> None:
    """A number is not finite where all bits of its exponent are set, in each of these types."""
    kind, mask = _EXPONENTS[tensor["dtype"]]
    start, end = tensor["data_offsets"]
    file.seek(begin + start)
    for place in range(start, end, _CHUNK):
        numbers: NDArray[np.unsignedinteger[Any]] = np.frombuffer(file.read(min(_CHUNK, end - place)), kind)
        if ((numbers & mask) == mask).any():
            raise InvalidRequest(f"The tensor {name[:200]!r} holds NaN or infinity: train it again.", param="file")


def add(session: Session, project: str, stored: Stored, now: datetime) -> Checkpoint:
    """The row of a checked file: a checkpoint that belongs to no job."""
    row = Checkpoint(
        id=new_id("ckpt"),
        project=project,
        path=stored.path,
        sha256=stored.sha256,
        size=stored.size,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _header(file: BinaryIO, size: int) -> dict[str, dict[str, Any]]:
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
        raise ValueError("its header is longer than the file")
    header = json.loads(file.read(length), object_pairs_hook=_without_twins)
    if not isinstance(header, dict):
        raise TypeError("its header is no JSON object")
    return header


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON that gives a name twice means one thing to one reader and another to the next."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("its header gives a name twice")
    return found


def _interval(name: str, tensor: dict[str, Any]) -> tuple[int, int]:
    """Where the tensor lies in the payload; its length must be what its shape and type say."""
    start, end = tensor["data_offsets"]
    if any(type(number) is not int or number < 0 for number in (start, end, *tensor["shape"])):
        raise ValueError(f"{name} has sizes that are none")
    if tensor["dtype"] not in _BITS:
        raise ValueError(f"{name} has the unknown type {tensor['dtype']}")
    if math.prod(tensor["shape"]) * _BITS[tensor["dtype"]] != 8 * (end - start):
        raise ValueError(f"{name} does not have the size that its shape says")
    return start, end
