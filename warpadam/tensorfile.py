"""Safetensors in bytes: written deterministically, read with limits.

The library's own writer puts metadata in an order that changes between runs, so the header is written here: sorted
keys, compact JSON, padded with spaces to 8 bytes. Reading checks the header itself (size, duplicate names, metadata)
and leaves the layout of the tensors to the library, which refuses offsets that overlap, leave holes or lie.
"""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

MAX_HEADER = 16 * 2**20

_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}


class TensorFileError(ValueError):
    """These bytes are no safetensors file that we read; the message says why."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]) -> bytes:
    """The safetensors file of these arrays (float32, float64, int64): equal content, equal bytes."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    pieces: list[bytes] = []
    offset = 0
    for name in sorted(tensors):
        array = tensors[name]
        piece = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
        span = [offset, offset + len(piece)]
        header[name] = {"dtype": _DTYPES[array.dtype.name], "shape": list(array.shape), "data_offsets": span}
        pieces.append(piece)
        offset = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, *pieces))


def read(data: bytes, max_header: int = MAX_HEADER) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
    """The arrays (read-only) and the metadata of a safetensors file. TensorFileError for anything else."""
    metadata = _metadata(_header(data, max_header))
    try:
        tensors = safetensors.numpy.load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise TensorFileError(f"not a readable safetensors file: {error}") from error
    for array in tensors.values():
        array.flags.writeable = False
    return tensors, metadata


def _header(data: bytes, max_header: int) -> dict[str, object]:
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > len(data) - 8:
        raise TensorFileError("not a safetensors file: it ends before its header does")
    if length > max_header:
        raise TensorFileError(f"the header takes {length} bytes; at most {max_header} are read")
    try:
        header = json.loads(data[8 : 8 + length].decode(), object_pairs_hook=_unique)
    except TensorFileError:
        raise
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"not a safetensors file: its header is no JSON ({error})") from error
    if not isinstance(header, dict):
        raise TensorFileError("not a safetensors file: its header is no JSON object")
    return header


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TensorFileError("the header names something twice")
    return found


def _metadata(header: Mapping[str, object]) -> dict[str, str]:
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TensorFileError("__metadata__ must map names to strings")
    return metadata
