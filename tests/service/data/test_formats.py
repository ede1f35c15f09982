"""Formats are recognised by name, then by content; what is not read here gets advice."""

import numpy as np
import pytest

from service.data import DataError, FolderSource
from service.data.formats import sniff
from tests.service.data.sources import file, gray, npz, zipped


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.npz", "npz"),
        ("A.CSV", "csv"),
        ("a.tsv", "csv"),
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.txt", "text"),
        ("a.csv?version=2", "csv"),
    ],
)
def test_by_name(name: str, form: str) -> None:
    assert sniff(file(name, b"")) == form


def test_by_content() -> None:
    assert sniff(file("upload", npz(x=np.zeros(2)).open().read())) == "npz"
    assert sniff(zipped({"cat/1.png": gray()}, name="upload")) == "images"
    assert sniff(file("upload", b"PAR1...")) == "parquet"
    assert sniff(FolderSource("images", [])) == "images"


@pytest.mark.parametrize(
    ("name", "advice"),
    [("a.npy", "savez"), ("a.pkl", "never read"), ("a.pt", "never read"), ("a.csv.gz", "Unpack"), ("a", "give format")],
)
def test_others_get_advice(name: str, advice: str) -> None:
    with pytest.raises(DataError, match=advice):
        sniff(file(name, b"\x93NUMPY"))


def test_a_torch_file_is_no_zip_of_images() -> None:
    with pytest.raises(DataError, match="never read"):
        sniff(zipped({"archive/data.pkl": b"x"}, name="model.pt"))


def test_a_damaged_zip_is_told() -> None:
    with pytest.raises(DataError, match="damaged"):
        sniff(file("upload.zip", b"PK\x03\x04 and no more"))
