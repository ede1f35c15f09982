"""A folder of code as an upload."""

import os
import zipfile
from pathlib import Path

import pytest

from tests.warpadam.sdk.served import Served
from warpadam.client import Client
from warpadam.sdk import errors
from warpadam.sdk.packing import packed


def folder(path: Path) -> Path:
    mine = path / "mine"
    (mine / "__pycache__").mkdir(parents=True)
    (mine / "deep").mkdir()
    (mine / "net.py").write_text("def build(i, o): ...\n")
    (mine / "deep/more.py").write_text("x = 1\n")
    (mine / "__pycache__/net.pyc").write_bytes(b"")
    (mine / ".git").mkdir()
    (mine / ".git/config").write_text("secret")
    return mine


def test_equal_folders_are_equal_files_without_what_is_nobodys(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a"), folder(tmp_path / "b")
    os.utime(other / "net.py", (1e9, 1e9))
    with packed(one) as first, packed(other) as second, zipfile.ZipFile(first) as archive:
        assert first.read_bytes() == second.read_bytes()
        assert archive.namelist() == ["mine/deep/more.py", "mine/net.py"]
    assert not first.exists()


def test_a_folder_is_registered_as_the_package_that_it_is(served: Served, tmp_path: Path) -> None:
    with Client(served.url) as client:
        made = client.datasets.create(folder(tmp_path), format="package")
        assert made.info is not None
        assert [module["name"] for module in made.info["modules"]] == ["mine.deep.more", "mine.net"]
        again = client.datasets.create(tmp_path / "mine", format="package", name="other")
        assert again.sha256 == made.sha256
        (tmp_path / "mine/net.py").write_text("def build(:")
        with pytest.raises(errors.DatasetInvalid, match=r"mine/net.py, line 1"):
            client.datasets.create(tmp_path / "mine", format="package")
