"""A driver of a group of workers that is killed leaves nothing on Ray, no helper of Ray Train's either."""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray._private.state import actors
from ray.util import placement_group_table

from tests.chaos.ray_view import STAYS
from tests.fixtures.ray import NAMESPACE

PATIENCE_S = 90.0
GROUP = """
import sys, time
import ray
from ray.train import ScalingConfig
from workers.trainer import Trainer

ray.init(address=sys.argv[1], namespace=sys.argv[2], log_to_driver=False)
print(ray.get_runtime_context().get_job_id(), flush=True)
Trainer(lambda: time.sleep(600), scaling_config=ScalingConfig(num_workers=2)).fit()
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
def test_a_killed_driver_leaves_no_actor_and_no_placement_group(ray_connection: str) -> None:
    before = groups()
    command = [sys.executable, "-c", GROUP, ray_connection, NAMESPACE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as driver:
        try:
            assert driver.stdout is not None
            job = driver.stdout.readline().strip()
            assert job != ray.get_runtime_context().get_job_id()
            until(lambda: living(job).count("RayTrainWorker") == 2)
            assert living(job).count("RayTrainWorker") == 2
            assert groups() > before
        finally:
            driver.kill()
    until(lambda: not living(job) and groups() == before)
    assert living(job) == []
    assert groups() == before
