import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.warpadam.matrices import rotation
from warpadam import tensorfile, warpfile
from warpadam.warpfile import FORMAT, WarpFileError, WarpMetadata

METADATA = WarpMetadata("patches", 7, "covariance", 6, "ab" * 32)
GOOD = {"output:3": rotation(3), "input:5": rotation(5)}
TEXT = {"format": FORMAT}
ROOT = Path(__file__).parents[2]


def file(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_a_p_comes_back_as_it_went_in() -> None:
    matrices, metadata = warpfile.decode(warpfile.encode(GOOD, METADATA))
    assert metadata == METADATA
    assert list(matrices) == ["input:5", "output:3"]
    assert all(np.array_equal(matrices[key], GOOD[key]) for key in GOOD)


def test_any_safetensors_reader_reads_it() -> None:
    loaded = safetensors.numpy.load(warpfile.encode(GOOD, METADATA))
    assert all(np.array_equal(loaded[key], GOOD[key]) for key in GOOD)


def test_a_file_that_another_writer_made_is_read() -> None:
    matrices, metadata = warpfile.decode(safetensors.numpy.save(GOOD, metadata=TEXT))
    assert metadata == WarpMetadata()
    assert np.array_equal(matrices["input:5"], GOOD["input:5"])


def test_equal_content_gives_equal_bytes_in_any_order_and_process() -> None:
    data = warpfile.encode(GOOD, METADATA)
    assert data == warpfile.encode(dict(reversed(GOOD.items())), METADATA)
    program = (
        "from tests.warpadam.test_warpfile import *; print(warpfile.sha256(warpfile.encode(GOOD, METADATA)), end='')"
    )
    other = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert other.stdout == warpfile.sha256(data)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ({}, "holds no matrix"),
        ({"input": np.eye(5, dtype=np.float32)}, "'input' is not an axis key"),
        ({"input:5": np.eye(5)}, "a P is float32, this matrix is float64"),
        ({"input:5": np.ones((5, 4), dtype=np.float32)}, r"must be square, this one has shape \(5, 4\)"),
        ({"input:5": np.eye(4, dtype=np.float32)}, "the key says size 5, the matrix has 4"),
        ({"input:2": np.array([[1, np.nan], [0, 1]], dtype=np.float32)}, "not finite"),
        ({"input:2": np.array([[1, 1], [1, 1]], dtype=np.float32)}, "neither orthogonal nor well conditioned"),
        ({"input:2": np.zeros((2, 2), dtype=np.float32)}, "neither orthogonal nor well conditioned"),
        ({"input:2": np.diag([1, 1e-5]).astype(np.float32)}, "at most a factor of 10000"),
    ],
)
def test_a_bad_matrix_is_refused_on_the_way_in_and_out(matrices: dict[str, NDArray[np.float32]], message: str) -> None:
    with pytest.raises(WarpFileError, match=message):
        warpfile.encode(matrices, WarpMetadata())
    with pytest.raises(WarpFileError, match=message):
        warpfile.decode(tensorfile.write(matrices, TEXT))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends before its header does"),
        (b"PK\x03\x04 a zip file, not a P", "ends before its header does"),
        (file(b"{"), "its header is no JSON"),
        (file(b"[" * 100_000), "its header is no JSON"),
        (file(b"9" * 5000), "its header is no JSON"),
        (file([]), "no JSON object"),
        (file({"__metadata__": {"format": 1}}), "must map names to strings"),
        (file({"__metadata__": []}), "must map names to strings"),
        (file(b'{"a":1,"a":2}'), "names something twice"),
        (file(b'{"__metadata__":{"format":"a","format":"b"}}'), "names something twice"),
        (file({"__metadata__": {"format": "other/1"}}), "its format is 'other/1'"),
        (file({}), "its format is None"),
        ((5 * 2**20).to_bytes(8, "little") + b" " * (5 * 2**20), "at most 4194304 are read"),
        (
            file(
                {"__metadata__": TEXT, "input:2": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 1600]}},
                bytes(16),
            ),
            "not a readable safetensors file",
        ),
        (
            file(
                {"__metadata__": TEXT, "input:2": {"dtype": "F32", "shape": [2, 2**62], "data_offsets": [0, 16]}},
                bytes(16),
            ),
            "not a readable safetensors file",
        ),
        (
            file(
                {"__metadata__": TEXT, "input:2": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}, bytes(8)
            ),
            "not a readable safetensors file",
        ),
        (tensorfile.write(GOOD, {**TEXT, "version": "seven"}), "metadata version must be a whole number, not 'seven'"),
        (tensorfile.write(GOOD, {**TEXT, "parent": "9" * 5000}), "metadata parent must be a whole number"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(data: bytes, message: str) -> None:
    with pytest.raises(WarpFileError, match=message):
        warpfile.decode(data)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(WarpFileError):
        warpfile.decode(data)


@settings(deadline=None, max_examples=300)
@given(where=st.integers(0, len(warpfile.encode(GOOD, METADATA)) - 1), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_a_p_or_refused(where: int, value: int, cut: bool) -> None:
    data = bytearray(warpfile.encode(GOOD, METADATA))
    data[where] = value
    try:
        matrices, _ = warpfile.decode(bytes(data[:where] if cut else data))
    except WarpFileError:
        return
    for key, matrix in matrices.items():
        assert np.isfinite(matrix).all()
        assert matrix.shape == (int(key.split(":")[1]),) * 2


def test_what_is_not_orthogonal_is_scaled_and_marked_once() -> None:
    skewed = np.array([[3, 1], [0, 2]], dtype=np.float32)
    data = warpfile.encode({"input:2": skewed}, METADATA)
    matrices, metadata = warpfile.decode(data)
    assert metadata.scaled
    assert np.linalg.norm(matrices["input:2"]) == pytest.approx(np.sqrt(2), rel=1e-6)
    assert np.allclose(matrices["input:2"] / matrices["input:2"][1, 1] * 2, skewed, rtol=1e-6)
    assert warpfile.encode(matrices, metadata) == data
    assert not warpfile.check(matrices).orthogonal


def test_a_scaled_rotation_becomes_the_rotation() -> None:
    checked = warpfile.check({"input:5": 3 * rotation(5), "output:3": rotation(3)})
    assert checked.scaled
    assert checked.orthogonal
    assert np.allclose(checked.matrices["input:5"], rotation(5), atol=1e-6)
    assert np.array_equal(checked.matrices["output:3"], rotation(3))
