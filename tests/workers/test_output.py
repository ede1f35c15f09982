"""What a process prints, read from its file as it grows."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.output import MOST_AT_ONCE, MOST_BEHIND, Output, Printed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def output(path: Path) -> Iterator[Output]:
    path.touch()
    made = Output(path.open("rb"))
    yield made
    made.close()


def test_whole_lines_once_they_are_stored(path: Path, output: Output) -> None:
    assert output.peek() is None
    path.write_bytes(b"one\ntw")
    first = output.peek()
    assert first == Printed(0, b"one\n")
    assert output.peek() == first, "it was not stored yet"
    output.advance(first)
    assert output.peek() is None
    assert output.peek(last=True) == Printed(4, b"tw")


def test_a_flood_is_cut_to_its_end(path: Path, output: Output) -> None:
    path.write_bytes(b"x" * 99 + b"\n" + (b"y" * 99 + b"\n") * (2 * MOST_BEHIND // 100))
    found = output.peek()
    assert found is not None
    assert len(found.data) <= MOST_AT_ONCE
    assert found.start + len(found.data) == path.stat().st_size
    assert found.data.startswith(b"y" * 99 + b"\n")


def test_a_line_without_end_is_cut(path: Path, output: Output) -> None:
    path.write_bytes(b"x" * (MOST_AT_ONCE + 1))
    found = output.peek()
    assert found is not None
    assert len(found.data) == MOST_AT_ONCE


def test_only_a_file_is_read() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"hello\n")
        file.flush()
        made = Output.of_this_process(file.fileno())
        assert made is not None
        assert made.peek() == Printed(0, b"hello\n")
        made.close()
    with Path("/dev/null").open("rb") as nothing:
        assert Output.of_this_process(nothing.fileno()) is None
