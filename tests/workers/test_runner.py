"""One attempt from its row to its outcome, in this process, on both databases."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service import attempts, clock, jobs
from service.states import JobState
from tests.workers.jobs import House
from workers.failures import Cause
from workers.mailbox import Failed, Inbox
from workers.runner import LOST, RECORDED, Runner

LONG: dict[str, Any] = {"training": {"steps": 1_000_000, "eval_every": 0, "checkpoint_every": 0}}


@pytest.fixture
def house(database_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(database_url, tmp_path)
    yield built
    built.memory.database.dispose()


@pytest.fixture
def on_sqlite(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(sqlite_url, tmp_path)
    yield built
    built.memory.database.dispose()


def during(runner: Runner, house: House, job: str, act: Callable[[], object]) -> int:
    """Runs the attempt in this thread, and `act` in another one once it trains."""

    def wait_and_act() -> None:
        while house.job(job).progress_step == 0:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    try:
        return runner.run()
    finally:
        thread.join()


def test_a_job_runs_and_everything_is_recorded(house: House) -> None:
    fence = house.start()
    assert Runner(house.memory, fence).run() == RECORDED
    job = house.job(fence.job_id)
    assert job.state == JobState.SUCCEEDED
    assert job.result is not None
    losses = house.points(job.id, "val_loss")
    assert job.result["steps"] == 20
    assert job.result["final"] == {"val_loss": losses[-1][1]}
    assert [step for step, _ in house.points(job.id, "train_loss")] == list(range(1, 21))
    assert {"job.state", "progress", "checkpoint.saved", "end"} <= set(house.events(job.id))
    with house.memory.database.read() as session:
        row = attempts.latest_checkpoint(session, job.id)
    assert row is not None
    assert (row.step, row.is_best, row.is_last) == (20, True, True)
    assert house.memory.storage.exists(row.path)


def test_a_basis_from_its_own_data_is_in_the_record(on_sqlite: House) -> None:
    fence = on_sqlite.start(optimizer={"warp": "data"})
    assert Runner(on_sqlite.memory, fence).run() == RECORDED
    job = on_sqlite.job(fence.job_id)
    assert (job.state, job.warp_version) == (JobState.SUCCEEDED, None)
    with on_sqlite.memory.database.read() as session:
        (attempt,) = jobs.attempts(session, job.id)
    assert attempt.warps == [{"step": 0, "version": None, "source": "data"}]


def test_the_same_job_twice_has_the_same_losses(on_sqlite: House) -> None:
    found = []
    for _ in range(2):
        fence = on_sqlite.start()
        Runner(on_sqlite.memory, fence).run()
        found.append(on_sqlite.points(fence.job_id, "train_loss"))
    assert found[0] == found[1]


def test_cancel_ends_it(house: House) -> None:
    fence = house.start(**LONG)
    job = fence.job_id
    assert during(Runner(house.memory, fence), house, job, lambda: house.cancel(job)) == RECORDED
    assert house.job(job).state == JobState.CANCELLED


def test_pause_saves_and_the_next_attempt_goes_on(on_sqlite: House) -> None:
    house = on_sqlite
    fence = house.start(training={"steps": 900, "eval_every": 0, "checkpoint_every": 0})
    job = fence.job_id
    during(Runner(house.memory, fence), house, job, lambda: house.pause(job))
    assert house.job(job).state == JobState.PAUSED
    reached = house.job(job).progress_step
    house.resume(job)
    again = house.claim().fence
    assert again.attempt == 2
    assert Runner(house.memory, again).run() == RECORDED
    assert house.job(job).state == JobState.SUCCEEDED
    steps = [step for step, _ in house.points(job, "lr")]
    assert steps[-1] == 900
    assert 0 < reached < 900


def test_an_attempt_that_lost_its_lease_ends_quietly(house: House) -> None:
    fence = house.start(**LONG)
    failure = attempts.Failure("infrastructure", "lost", "gone", retryable=True)

    def lose() -> None:
        house.memory.database.write(
            lambda session: attempts.release_lost(session, fence, now=clock.now(), failure=failure)
        )

    assert during(Runner(house.memory, fence), house, fence.job_id, lose) == LOST
    assert house.job(fence.job_id).state == JobState.QUEUED


def test_preemption_saves_and_is_tried_again(on_sqlite: House) -> None:
    fence = on_sqlite.start(**LONG)
    runner = Runner(on_sqlite.memory, fence)
    assert during(runner, on_sqlite, fence.job_id, runner.stop) == RECORDED
    job = on_sqlite.job(fence.job_id)
    assert job.state == JobState.QUEUED
    with on_sqlite.memory.database.read() as session:
        saved = attempts.latest_checkpoint(session, fence.job_id)
    assert saved is not None
    assert saved.step


def test_divergence_fails_the_job_and_is_not_tried_again(house: House) -> None:
    fence = house.start(optimizer={"name": "adamw", "lr": 1e30, "learn": "none"})
    assert Runner(house.memory, fence).run() == RECORDED
    job = house.job(fence.job_id)
    assert job.state == JobState.FAILED
    assert job.failure is not None
    assert (job.failure["category"], job.failure["code"]) == ("user", "not_finite")
    assert "optimizer.lr" in job.failure["message"]


def test_a_time_limit_ends_the_job(on_sqlite: House) -> None:
    fence = on_sqlite.start(**LONG, timeout_s=0.2)
    assert Runner(on_sqlite.memory, fence).run() == RECORDED
    job = on_sqlite.job(fence.job_id)
    assert job.failure is not None
    assert job.failure["code"] == "timeout"


def test_a_storage_without_the_data_is_the_infrastructures(on_sqlite: House) -> None:
    fence = on_sqlite.start()
    for file in (on_sqlite.memory.settings.data_dir / "storage" / "datasets").rglob("*"):
        if file.is_file():
            file.unlink()
    assert Runner(on_sqlite.memory, fence).run() == RECORDED
    assert on_sqlite.job(fence.job_id).state in (JobState.QUEUED, JobState.FAILED)


class Stuck:
    """Workers that never come to their first step, and a main thread that waits for them."""

    leaves_no_trace = False

    def __init__(self) -> None:
        self.source = Inbox()
        self.over = threading.Event()

    def run(self) -> None:
        assert self.over.wait(60)
        self.source.post(Failed(0, Cause("infrastructure", "over", "the test is over")))


def ended_from_outside(house: House, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], object]) -> tuple[int, str]:
    """The code with which the heartbeat's thread ended the process, and the job."""
    stuck, codes = Stuck(), list[int]()
    monkeypatch.setattr("workers.runner.fit_for", lambda *_: stuck)
    monkeypatch.setattr("workers.runner.trains_here", lambda *_: False)
    monkeypatch.setattr("workers.runner.connect", lambda _: None)

    def leave(code: int) -> None:
        codes.append(code)
        stuck.over.set()

    fence = house.start(**LONG)
    act(fence.job_id)
    Runner(house.memory, fence, leave=leave).run()
    return codes[0], fence.job_id


def test_workers_that_are_still_placed_are_cancelled_at_once(on_sqlite: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def cancel(job: str) -> None:
        threading.Timer(0.2, on_sqlite.cancel, [job]).start()

    code, job = ended_from_outside(on_sqlite, monkeypatch, cancel)
    assert code == RECORDED
    assert on_sqlite.job(job).state == JobState.CANCELLED


def test_an_attempt_that_stands_still_is_ended_and_tried_again(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House.build(sqlite_url, tmp_path, stall_s=0.2)
    code, job = ended_from_outside(house, monkeypatch, lambda _: None)
    assert code == RECORDED
    assert house.job(job).state == JobState.QUEUED
    with house.memory.database.read() as session:
        (attempt,) = jobs.attempts(session, job)
    assert attempt.failure is not None
    assert attempt.failure["code"] == "stalled"
    house.memory.database.dispose()


def test_a_database_that_is_away_costs_no_attempt(on_sqlite: House, monkeypatch: pytest.MonkeyPatch) -> None:
    fence = on_sqlite.start()
    write, away = on_sqlite.memory.database.write, iter(range(6))

    def sometimes(work: Callable[[Any], Any]) -> Any:
        if next(away, None) is not None:
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return write(work)

    monkeypatch.setattr(on_sqlite.memory.database, "write", sometimes)
    assert Runner(on_sqlite.memory, fence).run() == RECORDED
    assert on_sqlite.job(fence.job_id).state == JobState.SUCCEEDED
