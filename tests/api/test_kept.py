"""Files of the database that are kept on disk: whole or not at all, the right ones, and never too many."""

import hashlib
import os
from pathlib import Path

from api.kept import KeptFiles

DATA = b"0123456789" * 10
SHA256 = hashlib.sha256(DATA).hexdigest()


def keep(kept: KeptFiles, data: bytes = DATA) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    assert b"".join(kept.keeping(sha256, len(data), iter([data[:7], data[7:]]))) == data
    return sha256


def test_a_file_is_kept_once_all_of_it_was_taken(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path / "kept", 1000)
    assert kept.find(SHA256, len(DATA)) is None
    half = kept.keeping(SHA256, len(DATA), iter([DATA[:50], DATA[50:]]))
    assert next(half) == DATA[:50]
    half.close()  # type: ignore[attr-defined]
    assert list((tmp_path / "kept").iterdir()) == []
    path = kept.find(keep(kept), len(DATA))
    assert path is not None
    assert path.read_bytes() == DATA
    assert [each.name for each in (tmp_path / "kept").iterdir()] == [SHA256]


def test_another_content_or_size_is_not_kept(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, 1000)
    assert b"".join(kept.keeping("0" * 64, 3, iter([b"abc"]))) == b"abc"
    assert kept.find("0" * 64, 3) is None
    (tmp_path / SHA256).write_bytes(DATA[:-1])
    assert kept.find(SHA256, len(DATA)) is None


def test_what_was_wanted_longest_ago_makes_room(tmp_path: Path) -> None:
    kept = KeptFiles(tmp_path, 250)
    first, second = keep(kept, b"a" * 100), keep(kept, b"b" * 100)
    os.utime(tmp_path / first, (1, 1))
    os.utime(tmp_path / second, (2, 2))
    assert kept.find(first, 100) is not None  # wanted now
    third = keep(kept, b"c" * 100)
    assert {each.name for each in tmp_path.iterdir()} == {first, third}
    keep(kept, b"d" * 251)
    assert {each.name for each in tmp_path.iterdir()} == {first, third}


def test_without_a_place_the_bytes_come_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"a file where the folder should be")
    keep(KeptFiles(tmp_path / "kept", 1000))
    keep(KeptFiles(tmp_path / "none", 0))
    assert not (tmp_path / "none").exists()
