"""A group of workers has no helper that it does not need, and its driver, when it is killed, leaves nothing on Ray."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.state import actors
from ray.util import placement_group_table

from tests.chaos.ray_view import STAYS
from tests.fixtures.ray import NAMESPACE

PATIENCE_S = 90.0
UNNEEDED = {"DatasetManager", "PlacementGroupCleaner"}
GROUP = """
import sys, time
import ray
from ray.train import ScalingConfig
from workers.trainer import TrainerWithoutDashboard

ray.init(address=sys.argv[1], namespace=sys.argv[2], log_to_driver=False)
print(ray.get_runtime_context().get_job_id(), flush=True)

def work(config):
    open(config["began"], "w").close()
    time.sleep(600)

began = {"began": sys.argv[3]}
TrainerWithoutDashboard(work, train_loop_config=began, scaling_config=ScalingConfig(num_workers=2)).fit()
"""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.2)


def living(job: str) -> list[str]:
    """Classes of one driver's actors that are not dead, but for the one that Train has for the whole cluster."""
    seen: dict[str, dict[str, Any]] = actors()
    alive = [each["ActorClassName"] for each in seen.values() if each["JobID"] == job and each["State"] != "DEAD"]
    return [name for name in alive if not name.startswith(STAYS)]


def groups() -> set[str]:
    table: dict[str, dict[str, Any]] = placement_group_table()
    return {name for name, each in table.items() if each["state"] != "REMOVED"}


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_driver_leaves_no_actor_and_no_placement_group(ray_connection: str, tmp_path: Path) -> None:
    before, began = groups(), tmp_path / "began"
    command = [sys.executable, "-c", GROUP, ray_connection, NAMESPACE, str(began)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        try:
            assert driver.stdout is not None
            job = driver.stdout.readline().strip()
            assert job != ray.get_runtime_context().get_job_id()
            until(began.exists)
            assert living(job).count("RayTrainWorker") == 2
            assert UNNEEDED.isdisjoint(living(job))
            assert groups() > before
        finally:
            driver.kill()
    until(lambda: not living(job) and groups() == before)
    assert living(job) == []
    assert groups() == before
