"""One contract for every storage: a local folder, and a store of objects."""

import errno
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import StorageFull, TooLarge
from service.storage import CorruptFile, Storage


@pytest.fixture(params=["local", "file://", "memory://"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "memory://":
        return Storage(f"memory://{uuid.uuid4().hex}")
    return Storage(f"{'file://' if request.param == 'file://' else ''}{tmp_path / 'deep' / 'storage'}")


def files(storage: Storage) -> list[str]:
    found: list[str] = storage._fs.find(storage._root)
    return found


def test_what_is_put_comes_back_by_its_content(storage: Storage) -> None:
    stored = storage.put("checkpoints", b"hello")
    sha256 = hashlib.sha256(b"hello").hexdigest()
    assert stored.path == f"checkpoints/{sha256[:2]}/{sha256}"
    assert (stored.sha256, stored.size) == (sha256, 5)
    assert storage.get(stored.path) == b"hello"
    assert storage.exists(stored.path)
    assert storage.size(stored.path) == 5


def test_streams(storage: Storage) -> None:
    chunks = [bytes([i]) * 1000 for i in range(10)]
    stored = storage.put_stream("datasets", iter(chunks), max_bytes=10_000)
    with storage.open(stored.path) as file:
        file.seek(1500)
        assert file.read(2) == b"\x01\x01"
        file.seek(0)
        assert file.read() == b"".join(chunks)


def test_equal_content_is_stored_once(storage: Storage) -> None:
    assert storage.put("a", b"x") == storage.put("a", b"x")
    assert len(files(storage)) == 1
    storage.put("b", b"x")
    assert len(files(storage)) == 2


def test_empty_files(storage: Storage) -> None:
    assert storage.get(storage.put("a", b"").path) == b""


def test_too_large_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(TooLarge, match="10 bytes"):
        storage.put_stream("datasets", iter([b"12345678", b"abc"]), max_bytes=10)
    assert files(storage) == []


def test_a_stream_that_breaks_leaves_nothing(storage: Storage) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        storage.put_stream("datasets", broken(), max_bytes=10)
    assert files(storage) == []


def test_a_full_disk_is_told(storage: Storage) -> None:
    def full() -> Iterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageFull, match="free some"):
        storage.put_stream("datasets", full(), max_bytes=10)
    assert files(storage) == []


def test_damage_is_noticed(storage: Storage) -> None:
    stored = storage.put("a", b"hello")
    storage._fs.pipe_file(storage._full(stored.path), b"hullo")
    with pytest.raises(CorruptFile, match="backup"):
        storage.get(stored.path)


def test_a_truncated_file_is_put_again(storage: Storage) -> None:
    stored = storage.put("a", b"hello")
    storage._fs.pipe_file(storage._full(stored.path), b"hel")
    storage.put("a", b"hello")
    assert storage.get(stored.path) == b"hello"


def test_deleting(storage: Storage) -> None:
    stored = storage.put("a", b"x")
    storage.delete(stored.path)
    storage.delete(stored.path)
    assert not storage.exists(stored.path)
    with pytest.raises(FileNotFoundError):
        storage.get(stored.path)
    with pytest.raises(FileNotFoundError):
        storage.open(stored.path)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a/00/" + "0" * 63, "a/01/" + "0" * 64, ""])
def test_other_paths_are_refused(storage: Storage, path: str) -> None:
    for method in (storage.get, storage.open, storage.exists, storage.delete):
        with pytest.raises(ValueError, match="not a path"):
            method(path)


@pytest.mark.parametrize("kind", ["", "A", "a/b", "..", "-a"])
def test_other_kinds_are_refused(storage: Storage, kind: str) -> None:
    with pytest.raises(ValueError, match="not a kind"):
        storage.put(kind, b"x")


def test_a_local_file_is_durable_before_its_path_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(os.path.realpath(f"/dev/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    stored = Storage(str(tmp_path)).put("a", b"x")
    folder = (tmp_path / stored.path).parent
    assert "aside" in synced[0]
    assert synced[1:] == [str(folder), str(folder.parent), str(tmp_path)]
