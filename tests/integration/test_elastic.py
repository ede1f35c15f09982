"""An elastic job on real nodes: one of two is killed, the job goes on with what is left, and grows when one comes."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from service import attempts, jobs
from service.db import ledger_queries
from service.db.locks import Lock, take_turns
from service.db.models import Attempt, Contribution
from service.states import JobState
from tests.fixtures.ray import NAMESPACE, another_node
from tests.workers.jobs import House
from workers.cluster import View, living_nodes
from workers.line import Line
from workers.meta.actor import end_learner, ensure_learner
from workers.policies import Node
from workers.regroup import Regroup
from workers.runner import RECORDED, Runner

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 1200
TRAINING = {"steps": STEPS, "batch_size": 16, "eval_every": 0, "checkpoint_every": 50, "sync_every": 50}
ELASTIC = {"workers": {"min": 1, "max": 2}, "cpus_per_worker": 3}  # one worker a node: Ray's head here has 4 CPUs
OPTIMIZER = {"learn": "covariance", "warp": "none"}
PATIENCE_S = 120.0


@pytest.fixture
def house(sqlite_url: str, ray_connection: str, tmp_path: Path) -> Iterator[House]:
    settings = {"ray_address": ray_connection, "ray_namespace": NAMESPACE, "elastic_every_s": 0.0}
    built = House.build(sqlite_url, tmp_path, **settings)
    yield built
    built.memory.database.dispose()


@dataclass
class Fate:
    """What happens to the cluster and to the job's grants while it trains, in a thread beside the runner's."""

    house: House
    job: str
    node: subprocess.Popen[bytes]
    sees_all: threading.Event
    errors: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        try:
            self._until(lambda: self.house.job(self.job).progress_step >= 60)
            os.killpg(self.node.pid, signal.SIGKILL)
            self._until(lambda: self._workers() == [2, 1] and self._gets_on())
            self.sees_all.set()
            self._until(lambda: bool(self._resize()))
        except BaseException as error:
            self.errors.append(error)

    def _workers(self) -> list[int]:
        return [int(each["workers"]) for each in attempt_of(self.house, self.job).groups]

    def _gets_on(self) -> bool:
        began = int(attempt_of(self.house, self.job).groups[-1]["step"])
        return self.house.job(self.job).progress_step > began

    def _resize(self) -> dict[str, int]:
        """As the dispatcher does it, once a second."""
        house, view = self.house, View(tuple(living_nodes()), connected=True, error=None)

        def work(session: attempts.claims.Session) -> dict[str, int]:
            take_turns(session, Lock.ADMISSION)
            return Line(house.memory.settings).resize(session, view)

        return house.memory.database.write(work)

    def _until(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert JobState(self.house.job(self.job).state).has_attempt, self.house.job(self.job).failure
            assert time.monotonic() < deadline
            time.sleep(0.05)


def attempt_of(house: House, job: str) -> Attempt:
    with house.memory.database.read() as session:
        (found,) = jobs.attempts(session, job)
        return found


def contributions(house: House, job: str) -> list[Contribution]:
    with house.memory.database.read() as session:
        return ledger_queries.of_job(session, job)


def claim(house: House) -> attempts.Claim:
    """As the dispatcher does it: with as many workers as there is room for."""
    view = View(tuple(living_nodes()), connected=True, error=None)
    found = house.memory.database.write(lambda session: Line(house.memory.settings).claim(session, view, "process"))
    assert found is not None
    return found


def test_a_job_shrinks_with_its_cluster_and_grows_again(
    house: House, ray_connection: str, short_tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third node is there from the beginning, but seen only once the loss of the second one is overcome."""
    alone = house.start(training=TRAINING, optimizer={"learn": "none"})
    Runner(house.memory, alone).run()
    sees_all = threading.Event()
    with another_node(ray_connection, short_tmp_path, 3) as lost:
        while len(living_nodes()) < 2:
            time.sleep(0.1)
        known = {node.id for node in living_nodes()}

        def visible() -> list[Node]:
            return [node for node in living_nodes() if node.id in known or sees_all.is_set()]

        monkeypatch.setattr("workers.runner.Regroup", partial(Regroup, nodes=visible))
        job = house.submit(training=TRAINING, optimizer=OPTIMIZER, resources=ELASTIC)
        claimed = claim(house)
        ensure_learner(house.memory.settings, claimed.job.family_id)
        with another_node(ray_connection, short_tmp_path, 3):
            fate = Fate(house, job, lost, sees_all)
            thread = threading.Thread(target=fate.run)
            thread.start()
            code = Runner(house.memory, claimed.fence).run()
            thread.join()
            end_learner(house.memory.settings, claimed.job.family_id)
    assert (code, fate.errors, house.job(job).failure) == (RECORDED, [], None)
    assert house.job(job).state == JobState.SUCCEEDED
    attempt = attempt_of(house, job)
    assert [each["workers"] for each in attempt.groups] == [2, 1, 2]
    assert house.events(job).count("warning") == 1
    counted = contributions(house, job)
    assert all(later.start >= earlier.end for earlier, later in pairwise(counted)), "a step counted twice"
    missing = STEPS - sum(row.end - row.start for row in counted)
    assert missing in (0, 50), "at most what was under way to the meta-learner when the node died"
    steps = [step for step, _ in house.points(job, "train_loss")]
    assert steps == sorted(set(steps))
    losses, expected = (house.points(each, "val_loss")[-1][1] for each in (job, alone.job_id))
    assert losses == pytest.approx(expected, rel=1e-2)
