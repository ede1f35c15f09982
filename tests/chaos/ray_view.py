"""What Ray holds: `python -m tests.chaos.ray_view HOST:PORT` says it as a line of JSON, in a process of its own.

Ray's own tables are asked, so that what no process shows is seen too: placement groups, reservations, pending actors.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

STAYS = ("FamilyLearner", "_AutoscalingCoordinatorActor")
"""Actors that outlive jobs: ours, one for a family, and one of Ray Train's for the whole cluster."""


def left(address: str, environment: dict[str, str]) -> list[str]:
    """What is held for nobody, a line for each; of a Ray that does not answer that."""
    command = [sys.executable, "-m", "tests.chaos.ray_view", address]
    try:
        run = subprocess.run(
            command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, timeout=60, check=True
        )
    except subprocess.SubprocessError as error:
        return [f"Ray does not say what it holds: {error}"]
    seen: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return [
        *(f"Ray holds the placement group {group}" for group in seen["groups"]),
        *(f"Ray has the actor {actor}" for actor in seen["actors"] if not actor.startswith(STAYS)),
        *([] if seen["free"] == seen["all"] else [f"Ray reserves CPUs: {seen['free']} of {seen['all']} are free"]),
    ]


def environment_of(process: psutil.Process) -> dict[str, str]:
    """What a driver needs beside the address: the service's token."""
    theirs: dict[str, str] = {}
    with suppress(psutil.Error):
        theirs = {name: value for name, value in process.environ().items() if name.startswith("RAY_")}
    return {**os.environ, **theirs}


def main(address: str) -> None:
    import ray
    from ray._private.state import actors
    from ray.util import placement_group_table

    ray.init(address=address, namespace="warpadam", log_to_driver=False, configure_logging=False)
    groups = placement_group_table()
    living = [each for each in actors().values() if each["State"] != "DEAD"]
    seen = {
        "groups": [each["placement_group_id"] for each in groups.values() if each["state"] != "REMOVED"],
        "actors": [f"{each['ActorClassName']} {each['Name']} ({each['State']})" for each in living],
        "all": ray.cluster_resources().get("CPU"),
        "free": ray.available_resources().get("CPU"),
    }
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
