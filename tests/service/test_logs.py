"""What attempts printed: kept in the database, whole, bounded, and told where something is missing."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from service import attempts, clock, jobs, logs
from service.attempts import Fence, LostLease
from service.states import JobState
from tests.service.kit import Bench

MOST = 2**20


def keep(bench: Bench, fence: Fence, start: int, data: bytes, most: int = MOST) -> None:
    bench.write(lambda session: attempts.add_log(session, fence, start, data, most=most))


def lines(bench: Bench, fence: Fence, folder: Path, after: int = 0, limit: int = 100) -> list[logs.Line]:
    return bench.read(lambda session: logs.read(session, folder, jobs.attempts(session, fence.job_id), after, limit))


def texts(bench: Bench, fence: Fence, folder: Path) -> list[str]:
    return [line.text for line in lines(bench, fence, folder)]


def test_a_log_outlives_its_node(bench: Bench, tmp_path: Path) -> None:
    fence = bench.running()
    keep(bench, fence, 0, b"one\ntwo\n")
    keep(bench, fence, 8, b"three\n")
    found = lines(bench, fence, tmp_path / "nothing is here")
    assert [line.text for line in found] == ["one", "two", "three"]
    for line in found:
        rest = lines(bench, fence, tmp_path, after=line.position)
        assert rest == found[found.index(line) + 1 :]
    assert lines(bench, fence, tmp_path, limit=2) == found[:2]


def test_sent_again_it_is_kept_once(bench: Bench, tmp_path: Path) -> None:
    fence = bench.running()
    keep(bench, fence, 0, b"one\n")
    keep(bench, fence, 0, b"one\ntwo\n")
    assert texts(bench, fence, tmp_path) == ["one", "two"]


def test_the_file_of_this_machine_goes_on_where_the_database_ends(bench: Bench, tmp_path: Path) -> None:
    fence = bench.running()
    keep(bench, fence, 0, b"one\n")
    (tmp_path / f"{fence.job_id}-1.log").write_bytes(b"one\ntwo\nthr")
    assert texts(bench, fence, tmp_path) == ["one", "two"]


def test_what_is_missing_is_said(bench: Bench, tmp_path: Path) -> None:
    fence = bench.running()
    keep(bench, fence, 0, b"one\n")
    keep(bench, fence, 100, b"two\n")
    assert texts(bench, fence, tmp_path) == ["one", "[96 bytes of output were not kept]", "two"]


def test_of_a_long_log_the_newest_part_is_kept(bench: Bench, tmp_path: Path) -> None:
    fence = bench.running()
    for number in range(10):
        keep(bench, fence, 10 * number, b"line %4d\n" % number, most=30)
    assert texts(bench, fence, tmp_path) == ["[70 bytes of output were not kept]", *(f"line {n:4}" for n in (7, 8, 9))]


def test_who_lost_the_lease_prints_nothing_more(bench: Bench) -> None:
    fence = bench.running()
    bench.lose(fence)
    with pytest.raises(LostLease):
        keep(bench, fence, 0, b"late\n")


def test_the_last_words_of_one_that_was_killed_are_kept(bench: Bench, tmp_path: Path) -> None:
    fence = bench.running()
    keep(bench, fence, 0, b"one\n")
    file = tmp_path / f"{fence.job_id}-1.log"
    file.write_bytes(b"one\nSegmentation fault")
    bench.write(lambda session: logs.keep_rest(session, tmp_path, fence.job_id, 1, most=MOST))
    file.unlink()
    assert bench.lose(fence) is JobState.QUEUED
    assert texts(bench, fence, tmp_path) == ["one", "Segmentation fault"]


def test_files_go_as_old_as_logs_may_be(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in ("job_a-1.log", "job_b-1.log", "dispatcher.log"))
    now = clock.now()
    for path, age in ((old, 31), (new, 29), (other, 99)):
        path.touch()
        os.utime(path, ((now - timedelta(days=age)).timestamp(),) * 2)
    assert logs.drop_files(tmp_path, 0, now) == 0
    assert logs.drop_files(tmp_path, 30, now) == 1
    assert not old.exists()
    assert new.exists()
    assert other.exists()
