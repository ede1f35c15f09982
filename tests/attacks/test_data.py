"""Datasets that attack who reads them: bombs, paths, pickles, headers that lie."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.data import DataError, Limits, inspect
from service.spec import DatasetOptions
from tests.service.data.sources import file, gray, zipped

SMALL = Limits(max_bytes=1 << 22)
OPTIONS = DatasetOptions()


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def npy(header: dict[str, object], payload: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + payload


def refused(name: str, content: bytes, message: str | None = None, limits: Limits = SMALL) -> None:
    with pytest.raises(DataError, match=message):
        inspect(file(name, content), OPTIONS, limits)


class Ran:
    """A pickle that leaves a trace where it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    payload = pickle.dumps(Ran(trace))
    objects = npy({"descr": "|O", "fortran_order": False, "shape": (1,)}, payload)
    refused("a.npz", archive({"x.npy": objects, "y.npy": objects}), "object array")
    refused("a.npz", archive({"x.npy": payload, "y.npy": payload}), "no readable array")
    refused("a.npz", payload)
    refused("a.pkl", payload, "never read")
    fields = npy({"descr": [("a", "|O")], "fortran_order": False, "shape": (1,)}, payload)
    refused("a.npz", archive({"x.npy": fields, "y.npy": fields}), "object array")
    assert not trace.exists()


@pytest.mark.parametrize("shape", ["(10**13,)", "(-1, 8)", "(2**40, 0, 2**40)", "(True,)", "(1.5,)", "[1]"])
@pytest.mark.parametrize("kind", ["<f8", "<U0", "|V0", "<U99999999"])
def test_headers_of_arrays_that_lie(shape: str, kind: str) -> None:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)
    refused("a.npz", archive({"x.npy": array, "y.npy": array}))


def test_bombs_in_zips() -> None:
    zeros = bytes(SMALL.max_bytes // 2 + 1)
    for name in ("a.npz", "a.zip"):
        members = {"x.npy": zeros, "y.npy": zeros} if name == "a.npz" else {"a/1.png": zeros, "b/1.png": zeros}
        refused(name, archive(members, zipfile.ZIP_DEFLATED), "unpacks to")
    nested = archive({"a/1.png": archive({"b.png": zeros}, zipfile.ZIP_DEFLATED), "b/1.png": gray()})
    refused("a.zip", nested, "no image that can be read")
    many = archive({f"a/{i}.png": b"" for i in range(50)})
    refused("a.zip", many, "50 files", Limits(max_files=10))


def test_a_member_that_is_larger_than_it_says() -> None:
    content = bytearray(archive({"a/1.png": gray(), "b/1.png": gray()}))
    for place in (content.find(b"PK\x03\x04") + 22, content.find(b"PK\x01\x02") + 24):
        content[place : place + 4] = (10).to_bytes(4, "little")
    refused("a.zip", bytes(content))


@pytest.mark.parametrize("name", ["../a/1.png", "/a/1.png", "a/../../1.png", "a\\..\\1.png", "..\\..\\1.png"])
def test_paths_in_zips_lead_nowhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    with pytest.raises(DataError, match="leads outside"):
        inspect(zipped({name: gray(), "b/2.png": gray()}), OPTIONS)
    assert [each.name for each in tmp_path.rglob("*")] == ["inside"]


def test_an_image_that_unpacks_to_too_many_pixels() -> None:
    bomb = gray()
    header = bomb.index(b"IHDR") + 4
    bomb = bomb[:header] + (60_000).to_bytes(4, "big") * 2 + bomb[header + 8 :]
    with pytest.raises(DataError, match=r"image|pixels|cannot be read"):
        inspect(zipped({"a/1.png": bomb, "b/1.png": gray()}), OPTIONS)


def table(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_bombs_in_parquet() -> None:
    rows = 1_000_000
    refused("a.parquet", table(a=pa.repeat(1, rows), target=pa.repeat(1, rows)), "unpacks to")
    # One long text, named by every row: fifty megabytes once it is written out.
    label = pa.DictionaryArray.from_arrays(pa.array([0] * 500, pa.int32()), ["x" * 100_000])
    refused("a.parquet", table(a=pa.array(range(500)), target=label), "at most 200", Limits())
    refused("a.parquet", table(a=pa.array(range(500)), target=label.cast(pa.string())), "at most 200", Limits())
    wide = table(**{f"c{i}": [1, 2] for i in range(50)}, target=[1, 2])
    refused("a.parquet", wide, "51 columns", Limits(max_columns=50))


def test_a_line_without_end_in_csv() -> None:
    refused("a.csv", b'a,target\n"' + b"x" * (9 << 20), None, Limits())
    refused("a.csv", b"a,target\n1," + b"x" * (17 << 20) + b"\n", "longer than", Limits())
    refused("a.csv", b"a" * (9 << 20), None, Limits())


@settings(max_examples=40, deadline=None)
@given(name=st.text(max_size=30), content=st.binary(max_size=200))
def test_any_name_and_any_bytes(name: str, content: bytes) -> None:
    try:
        inspect(file(name, content), OPTIONS, SMALL)
    except DataError as error:
        assert str(error).isprintable()  # noqa: PT017 - some bytes are a text, and read
