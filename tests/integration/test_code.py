"""User code on real Ray workers: two of them that contribute, and one that never comes back."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load

from service import attempts, learning
from service.states import JobState
from tests.fixtures.ray import NAMESPACE
from tests.workers.code.packed import NET
from tests.workers.jobs import House
from workers.meta.actor import end_learner, ensure_learner
from workers.runner import RECORDED, Runner

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]  # on a machine that does other things too

TRAINING = {"steps": 12, "batch_size": 7, "eval_every": 4, "checkpoint_every": 6, "sync_every": 5}
LOOK = "import os\nprint('SEEN', dict(os.environ), [open('/proc/self/environ').read()])\n"
HANG = "import time\n" + NET.replace(
    "return self.last(", "[time.sleep(1) for _ in iter(int, 1)]\n        return self.last("
)


@pytest.fixture
def house(sqlite_url: str, ray_connection: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(sqlite_url, tmp_path, ray_address=ray_connection, ray_namespace=NAMESPACE, grace_s=1.0)
    yield built
    built.memory.database.dispose()


def test_two_workers_train_it_and_the_family_learns(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    package = house.package({"mine/net.py": LOOK + NET, "mine/__init__.py": ""})
    fence = house.start(
        model={"entrypoint": "mine.net:build", "package": package, "kwargs": {"hidden": 5}},
        init="family",
        training=TRAINING,
        optimizer={"learn": "covariance"},
        resources={"workers": 2, "cpus_per_worker": 0.5},
    )
    family = house.job(fence.job_id).family_id
    ensure_learner(house.memory.settings, family)
    try:
        assert Runner(house.memory, fence).run() == RECORDED
    finally:
        end_learner(house.memory.settings, family)
    job = house.job(fence.job_id)
    assert (job.state, job.failure) == (JobState.SUCCEEDED, None)
    assert house.events(job.id).count("contribution.accepted") >= 2
    with house.memory.database.read() as session:
        newest = learning.load(session, family).newest
        saved = attempts.latest_checkpoint(session, job.id)
    assert newest is not None
    assert saved is not None
    hidden = f"param:first.weight:0:5@{job.resolved['anchor']}"
    assert {"input:6", "output:3", hidden} <= {entry["key"] for entry in newest.keys}
    assert load(house.memory.storage.get(saved.path))["first.weight"].shape == (5, 6)
    seen = [line for line in capfd.readouterr().err.splitlines() if "| SEEN" in line]
    assert {line.partition(" | ")[0] for line in seen} == {"worker 0", "worker 1"}
    for line in seen:
        variables, at_start = ast.literal_eval("(" + line.partition("SEEN ")[2].replace("} [", "}, [") + ")")
        assert not [name for name in variables if name.startswith(("RAY_", "WARPADAM_", "AWS_"))]
        assert "RAY_" not in at_start[0]


def test_one_that_never_comes_back_is_ended_with_all_it_started(house: House) -> None:
    settings = house.memory.settings
    names = {
        "data_dir",
        "database_url",
        "storage_url",
        "ray_address",
        "ray_namespace",
        "grace_s",
        "heartbeat_s",
        "allow_code",
        "code_confinement",
    }
    variables = {f"WARPADAM_{name.upper()}": str(getattr(settings, name)) for name in names}
    package = house.package({"net.py": HANG})
    fence = house.start(model={"entrypoint": "net:build", "package": package}, training=TRAINING, timeout_s=15)
    options = ["--job", fence.job_id, "--attempt", str(fence.attempt), "--token", str(fence.token)]
    command = [sys.executable, "-m", "workers.runner", *options]
    assert subprocess.run(command, env={**os.environ, **variables}, check=False).returncode == RECORDED
    failure = house.job(fence.job_id).failure
    assert failure is not None
    assert (failure["category"], failure["code"]) == ("user", "timeout")
    assert psutil.wait_procs(children_of_code(), timeout=30)[1] == []


def children_of_code() -> list[psutil.Process]:
    """Those of this checkout."""
    lines = [(each, each.info["cmdline"] or [""]) for each in psutil.process_iter(["cmdline"])]
    return [each for each, line in lines if "workers.code.child" in line and line[0] == sys.executable]
