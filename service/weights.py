"""Weights that a user uploads: their own base model, as safetensors.

Only the header is read (8 bytes of length, then JSON), and it must account for every byte of the file, so a file of any
size is checked without being held, and nothing in it is ever executed.
"""

import json
import math
from datetime import datetime
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from service.db.models import Checkpoint
from service.errors import InvalidRequest
from service.ids import new_id
from service.storage import Storage, Stored

MAX_HEADER_BYTES = 100_000_000
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}


def check(storage: Storage, stored: Stored) -> None:
    """Raises InvalidRequest unless the stored file is whole safetensors with at least one tensor."""
    with storage.open(stored.path) as file:
        try:
            header = _header(file, stored.size)
            ends = sorted(_interval(name, tensor) for name, tensor in header.items() if name != "__metadata__")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRequest(
                f"This file is not safetensors ({error}): save the model's state with safetensors.torch.save_file.",
                param="file",
            ) from error
        payload = stored.size - file.tell()
    if not ends:
        raise InvalidRequest("This file has no tensors.", param="file")
    starts = [0, *(end for _, end in ends)]
    if [start for start, _ in ends] != starts[:-1] or starts[-1] != payload:
        raise InvalidRequest("This file is not whole: its tensors do not fill it. Upload it again.", param="file")


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
    header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise TypeError("its header is no JSON object")
    return header


def _interval(name: str, tensor: dict[str, Any]) -> tuple[int, int]:
    """Where the tensor lies in the payload; its length must be what its shape and type say."""
    start, end = tensor["data_offsets"]
    if tensor["dtype"] not in _BITS:
        raise ValueError(f"{name} has the unknown type {tensor['dtype']}")
    if math.prod(tensor["shape"]) * _BITS[tensor["dtype"]] != 8 * (end - start) or start < 0:
        raise ValueError(f"{name} does not have the size that its shape says")
    return start, end
