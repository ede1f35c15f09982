"""Base models that lie: whatever comes in is either whole, finite safetensors, or refused; nothing else gets out."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import weights
from service.errors import InvalidRequest
from service.storage import Storage

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def file(header: object, payload: bytes = bytes(8), *, text: str | None = None) -> bytes:
    encoded = (json.dumps(header) if text is None else text).encode()
    return struct.pack("<Q", len(encoded)) + encoded + payload


def check(folder: Path, content: bytes) -> None:
    storage = Storage(str(folder))
    weights.check(storage, storage.put("checkpoints", content))


LIES = {
    "empty": b"",
    "a length beyond the file": struct.pack("<Q", 2**63) + b"{}",
    "no JSON": file(None, text="{"),
    "deep JSON": file(None, text="[" * 200_000),
    "a list": file([]),
    "no tensors": file({}),
    "no tensor": file({"a": 3}),
    "an unknown type": file({"a": F32 | {"dtype": "PICKLE"}}),
    "a shape larger than its bytes": file({"a": F32 | {"shape": [2**62, 2**62]}}),
    "negative sizes": file({"a": F32 | {"shape": [-1, -2]}}),
    "sizes that are no integers": file({"a": F32 | {"shape": [2.0]}}),
    "booleans for sizes": file({"a": F32 | {"shape": [True, 2]}}),
    "negative offsets": file({"a": F32 | {"data_offsets": [-8, 0]}}),
    "offsets beyond the end": file({"a": F32 | {"data_offsets": [8, 16]}}),
    "tensors over each other": file({"a": F32, "b": F32}),
    "a hole": file({"a": F32, "b": F32 | {"data_offsets": [16, 24]}}, bytes(24)),
    "bytes after the last": file({"a": F32}, bytes(9)),
    "a name twice": file(None, text=f'{{"a": {json.dumps(F32)}, "a": {json.dumps(F32)}}}'),
    "a field twice": file(None, text='{"a": {"dtype": "F32", "shape": [9], "shape": [2], "data_offsets": [0, 8]}}'),
    "a pickle": b"\x80\x04\x95" + bytes(100),
    **{
        f"{value} in {kind}": file({"a": {"dtype": kind, "shape": [2], "data_offsets": [0, len(raw)]}}, raw)
        for kind, value, raw in (
            ("F64", "NaN", np.array([1, np.nan]).tobytes()),
            ("F32", "-inf", np.array([1, -np.inf], "<f4").tobytes()),
            ("F16", "NaN", np.array([1, np.nan], "<f2").tobytes()),
            ("BF16", "inf", np.array([0x3F80, 0x7F80], "<u2").tobytes()),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused(lie: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        check(tmp_path, LIES[lie])


def test_a_good_file_is_taken(tmp_path: Path) -> None:
    check(tmp_path, safetensors.numpy.save({"a": np.ones((3, 2), "f4"), "b": np.arange(3)}))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.dictionaries(
        st.text(max_size=5),
        ANY_JSON
        | st.fixed_dictionaries({
            "dtype": st.sampled_from(["F32", "F64", "I64", "BOOL", "BF16"]),
            "shape": st.lists(st.integers(-2, 4), max_size=3),
            "data_offsets": st.lists(st.integers(-2, 40), min_size=1, max_size=3),
        }),
        max_size=3,
    ),
    payload=st.binary(max_size=40),
)  # fmt: skip
def test_what_is_taken_is_what_the_library_reads(tmp_path: Path, header: dict[str, Any], payload: bytes) -> None:
    content = file(header, payload)
    try:
        check(tmp_path, content)
    except InvalidRequest:
        return
    tensors = safetensors.deserialize(content)
    assert {name for name, _ in tensors} == set(header) - {"__metadata__"}
