"""The dispatcher on a real database and with real programs; only the cluster's view is given."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service import attempts, clock, cluster, families
from service.processes import end_group, members
from service.settings import Settings
from service.states import JobState
from tests.service.kit import Bench
from tests.service.kit import table as numbers
from workers.cluster import View
from workers.dispatcher import Dispatcher
from workers.launchers import ProcessLauncher
from workers.policies import Node

CHILD = (sys.executable, str(Path(__file__).with_name("child_runner.py")))


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@dataclass
class GivenPool:
    """A cluster that is as the test says."""

    seen: View
    wanted: list[frozenset[int]] = field(default_factory=list)
    noticed: list[frozenset[int]] = field(default_factory=list)

    def view(self) -> View:
        return self.seen

    def want_learners(self, families: frozenset[int]) -> None:
        self.wanted.append(families)

    def notice_weights(self, families: frozenset[int]) -> None:
        self.noticed.append(families)

    def close(self) -> None:
        pass


@dataclass
class House:
    """A dispatcher, what it works with, and the means to make another one after it."""

    bench: Bench
    folder: Path
    settings: Settings
    pool: GivenPool
    dispatchers: list[Dispatcher] = field(default_factory=list)

    def dispatcher(self, does: str = "sleep", command: tuple[str, ...] = CHILD) -> Dispatcher:
        environment = {**os.environ, "WA_TEST_FOLDER": str(self.folder), "WA_TEST_DOES": does}
        launcher = ProcessLauncher(self.folder / "logs", command, environment, warm=False)
        self.dispatchers.append(Dispatcher(self.settings, self.bench.database, launcher, self.pool))
        return self.dispatchers[-1]

    def submit(self, **fields: object) -> str:
        self.bench.ready = self.bench.ready or self.bench.dataset(numbers())
        return self.bench.submit(training={"steps": 5}, **fields).id

    def pid(self, job_id: str, attempt: int = 1) -> int:
        path = self.folder / f"{job_id}-{attempt}"
        until(path.exists)
        until(lambda: path.read_text().endswith("\n"))
        return int(path.read_text().split()[0])

    def reaches(self, dispatcher: Dispatcher, job_id: str, state: JobState) -> None:
        until(lambda: dispatcher.step() or self.bench.state(job_id) == state)

    def snapshot(self) -> dict[str, Any]:
        return self.bench.read(cluster.read)


@pytest.fixture
def house(bench: Bench, tmp_path: Path) -> Iterator[House]:
    settings = Settings(data_dir=tmp_path, grace_s=0.3, warm_runner=False)
    made = House(bench, tmp_path, settings, GivenPool(View((Node("a", 2, 0),), connected=True, error=None)))
    yield made
    for path in tmp_path.glob("job_*"):
        end_group(int(path.read_text().split()[0]), 0.0)
    for dispatcher in made.dispatchers:
        dispatcher.launcher.close(grace_s=0.0)


@pytest.fixture
def bench(database: object) -> Bench:
    return Bench(database)  # type: ignore[arg-type]


def test_a_job_is_claimed_launched_and_left_alone(house: House) -> None:
    job_id = house.submit()
    dispatcher = house.dispatcher()
    dispatcher.step()
    assert house.bench.state(job_id) == JobState.STARTING
    pid = house.pid(job_id)
    dispatcher.step()
    (live,) = house.bench.read(attempts.live)
    assert live.pid == pid
    assert members(pid)


def test_a_large_job_waits_and_blocks_nobody(house: House) -> None:
    first = house.submit()
    dispatcher = house.dispatcher()
    dispatcher.step()
    large, small, waits = house.submit(resources={"workers": 2}), house.submit(), house.submit()
    dispatcher.step()
    assert [house.bench.state(job) for job in (large, small, waits)] == ["queued", "starting", "queued"]
    assert house.bench.job(large).pending_reason is None
    os.kill(house.pid(first), signal.SIGKILL)
    house.reaches(dispatcher, first, JobState.QUEUED)
    assert house.bench.state(waits) == JobState.STARTING


def test_what_nothing_could_ever_hold_is_told_and_then_fails(house: House) -> None:
    patient = house.submit(resources={"gpus_per_worker": 4}, queue_timeout_s=None)
    hasty = house.submit(resources={"gpus_per_worker": 4}, queue_timeout_s=0.05)
    modest = house.submit()
    house.pool.seen = View((Node("a", 2, 2),), connected=True, error=None)
    dispatcher = house.dispatcher()
    dispatcher.step()
    reason = house.bench.job(patient).pending_reason
    assert reason is not None
    assert reason["code"] == "too_large"
    assert "needs 4 GPUs" in reason["message"]
    assert "the largest node has 2" in reason["message"]
    house.reaches(dispatcher, hasty, JobState.FAILED)
    failure = house.bench.job(hasty).failure
    assert failure is not None
    assert failure["code"] == "unschedulable"
    assert "the largest node has 2" in failure["message"]
    assert house.bench.state(patient) == JobState.QUEUED
    assert house.bench.state(modest) == JobState.STARTING


def test_without_a_cluster_nothing_is_claimed_and_nothing_fails(house: House) -> None:
    job_id = house.submit(queue_timeout_s=0.001)
    house.pool.seen = View(connected=False, error="no answer from Ray at 127.0.0.1:1")
    house.dispatcher().step()
    assert house.bench.state(job_id) == JobState.QUEUED
    assert house.snapshot()["ray"] == {"connected": False, "error": "no answer from Ray at 127.0.0.1:1"}


def test_the_snapshot_says_what_is_free(house: House) -> None:
    house.submit()
    dispatcher = house.dispatcher()
    dispatcher.step()
    seen = house.snapshot()
    assert (seen["cpus"], seen["free_cpus"], seen["queue"]) == (2, 1, {"queued": 0, "running": 1})


def test_families_of_contributing_jobs_get_their_learner(house: House) -> None:
    learns = house.submit(family="learns")
    half = {"cpus_per_worker": 0.5}
    house.submit(family="does-not", optimizer={"learn": "none"}, resources=half)
    guarded = house.submit(family="guarded", optimizer={"learn": "none"}, resources=half)
    house.bench.write(
        lambda session: families.update(session, "default", "guarded", promotion="guarded")
    )  # its evaluations are to be looked at
    house.dispatcher().step()
    assert house.pool.wanted[-1] == {house.bench.job(job).family_id for job in (learns, guarded)}


def test_a_program_that_dies_silently_is_tried_again(house: House) -> None:
    job_id = house.submit()
    dispatcher = house.dispatcher("exit-3")
    until(lambda: dispatcher.step() or house.bench.job(job_id).attempt == 2)
    transition = house.bench.path(job_id)
    assert transition[:3] == ["queued", "starting", "queued"]


def test_its_budget_ends(house: House) -> None:
    job_id = house.submit(retries={"infrastructure": 0})
    house.reaches(house.dispatcher("exit-3"), job_id, JobState.FAILED)
    failure = house.bench.job(job_id).failure
    assert failure is not None
    assert (failure["category"], failure["attempt"]) == ("infrastructure", 1)
    assert "code 3" in failure["message"]


def test_the_attempts_own_word_stands(house: House) -> None:
    job_id = house.submit()
    dispatcher = house.dispatcher()
    dispatcher.step()
    pid = house.pid(job_id)
    (fence,) = dispatcher.running
    house.bench.start(fence, now=clock.now())
    house.bench.finish(fence, "succeeded", now=clock.now())
    os.kill(pid, signal.SIGKILL)
    until(lambda: dispatcher.step() or not dispatcher.running)
    assert house.bench.state(job_id) == JobState.SUCCEEDED


def test_a_silent_attempt_loses_its_lease_and_its_processes(house: House) -> None:
    house.settings = house.settings.model_copy(update={"lease_s": 0.5, "start_s": 1.0})
    job_id = house.submit()
    dispatcher = house.dispatcher("deaf")
    dispatcher.step()
    pid = house.pid(job_id)
    until(lambda: len(members(pid)) == 2)
    house.reaches(dispatcher, job_id, JobState.QUEUED)
    assert members(pid) == []
    assert not dispatcher.running


def test_a_new_dispatcher_goes_on_with_what_runs(house: House) -> None:
    kept, gone = house.submit(), house.submit()
    first = house.dispatcher()
    first.step()
    os.kill(house.pid(gone), signal.SIGKILL)
    until(lambda: not members(house.pid(gone)))

    second = house.dispatcher()
    second.adopt()
    assert house.bench.state(kept) == JobState.STARTING
    assert house.bench.state(gone) == JobState.QUEUED
    os.kill(house.pid(kept), signal.SIGKILL)
    house.reaches(second, kept, JobState.QUEUED)


def test_a_program_that_cannot_be_started_is_tried_again(house: House) -> None:
    job_id = house.submit(retries={"infrastructure": 0})
    house.dispatcher(command=("/nowhere/python",)).step()
    failure = house.bench.job(job_id).failure
    assert failure is not None
    assert failure["code"] == "launch_failed"
    assert "/nowhere/python" in failure["message"]


def test_told_to_stop_it_ends_attempts_and_gives_their_jobs_back(house: House) -> None:
    job_id = house.submit()
    dispatcher = house.dispatcher()
    stop = threading.Event()
    thread = threading.Thread(target=dispatcher.run, args=(stop,))
    thread.start()
    pid = house.pid(job_id)
    stop.set()
    thread.join(timeout=20)
    assert members(pid) == []
    assert house.bench.state(job_id) == JobState.QUEUED


def test_its_own_mistake_costs_no_attempt(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = house.submit()
    dispatcher = house.dispatcher()
    tend, looks = dispatcher.launcher.tend, list[str]()
    stop = threading.Event()

    def sometimes(**state: bool) -> None:
        looks.append(house.bench.state(job_id))
        if len(looks) < 3:
            raise KeyError("a mistake")
        tend(**state)
        stop.set()

    monkeypatch.setattr(dispatcher.launcher, "tend", sometimes)
    dispatcher.run(stop)
    assert looks == [JobState.STARTING] * 3


def test_one_that_does_not_stop_is_ended_and_its_job_is_cancelled(house: House) -> None:
    job_id = house.submit()
    dispatcher = house.dispatcher("deaf")
    dispatcher.step()
    pid = house.pid(job_id)
    until(lambda: len(members(pid)) == 2)
    dispatcher._obedience.grace_s = 0.2
    house.bench.ask("cancel", job_id)
    house.reaches(dispatcher, job_id, JobState.CANCELLED)
    assert members(pid) == []
