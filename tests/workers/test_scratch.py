"""Folders that last as long as their process."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from workers import scratch

HOLD = "from workers.scratch import scratch\nwith scratch() as folder:\n    print(folder, flush=True)\n    input()"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_it_is_there_while_it_is_used_and_then_gone() -> None:
    with scratch.scratch() as folder:
        assert folder.is_dir()
        assert scratch.sweep() == 0
        assert folder.is_dir()
    assert not folder.exists()


def test_that_of_a_killed_process_is_removed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        assert scratch.sweep() == 0
        holder.kill()
        holder.wait()
    assert scratch.sweep() == 1
    assert not folder.exists()


def test_that_of_a_process_killed_before_it_had_locked_it_is_removed_later(tmp_path: Path) -> None:
    new, old = tmp_path / "wa-new-a", tmp_path / "wa-new-b"
    for folder in (new, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    assert scratch.sweep() == 1
    assert new.is_dir()
    assert not old.exists()
