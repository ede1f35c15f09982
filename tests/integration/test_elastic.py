"""An elastic job on real nodes: one of two is killed, the job goes on with what is left, and grows when one comes."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from service import attempts, jobs
from service.db import ledger_queries
from service.states import JobState
from tests.fixtures.ray import NAMESPACE, another_node
from tests.workers.jobs import House
from workers.cluster import View, living_nodes
from workers.line import Line
from workers.meta.actor import end_learner, ensure_learner
from workers.runner import RECORDED, Runner

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 2000
TRAINING = {"steps": STEPS, "batch_size": 32, "eval_every": 0, "checkpoint_every": 100, "sync_every": 100}


@pytest.fixture
def house(sqlite_url: str, ray_connection: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(sqlite_url, tmp_path, ray_address=ray_connection, ray_namespace=NAMESPACE, elastic_every_s=0.0)
    yield built
    built.memory.database.dispose()


def submit(house: House) -> str:
    return house.submit(
        training=TRAINING,
        optimizer={"learn": "covariance", "warp": "none"},
        resources={"workers": {"min": 1, "max": 2}, "cpus_per_worker": 3},
    )


def claim(house: House) -> attempts.Claim:
    """As the dispatcher does it."""
    view = View(tuple(living_nodes()), connected=True, error=None)
    found = house.memory.database.write(lambda session: Line(house.memory.settings).claim(session, view, "process"))
    assert found is not None
    return found


def until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def groups(house: House, job: str) -> list[dict[str, Any]]:
    with house.memory.database.read() as session:
        return jobs.attempts(session, job)[-1].groups


def test_it_loses_a_node_and_gets_one_and_no_step_counts_twice(
    house: House, ray_connection: str, short_tmp_path: Path
) -> None:
    settings, database = house.memory.settings, house.memory.database
    began = time.monotonic()

    def told(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s {what}", flush=True)

    with another_node(ray_connection, short_tmp_path, 3) as node:
        until(lambda: len(living_nodes()) == 2)
        told("two nodes")
        job = submit(house)
        claimed = claim(house)
        assert claimed.workers == 2
        family = claimed.job.family_id
        ensure_learner(settings, family)
        runner = Runner(house.memory, claimed.fence)
        codes: list[int] = []

        def reached(step: int) -> bool:
            return house.job(job).progress_step >= step or house.job(job).state != JobState.RUNNING

        def lose_and_gain() -> None:
            until(lambda: house.job(job).progress_step >= 250)
            told(f"step {house.job(job).progress_step}; kill")
            os.killpg(node.pid, signal.SIGKILL)
            until(lambda: len(groups(house, job)) == 2)
            told(f"{groups(house, job)}")

        thread = threading.Thread(target=lose_and_gain)
        thread.start()
        codes.append(runner.run())
        thread.join()
        told("end")
        end_learner(settings, family)
    assert codes == [RECORDED]
    row = house.job(job)
    print(row.state, row.failure, row.result, groups(house, job))
    assert (row.state, row.failure) == (JobState.SUCCEEDED, None)
    with database.read() as session:
        rows = ledger_queries.of_job(session, job)
    print([(r.start, r.end, r.sequence) for r in rows])
