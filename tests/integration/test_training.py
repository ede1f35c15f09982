"""Real Ray Train: one worker here, two workers with gloo elsewhere, and a warm runner as a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.states import JobState
from tests.fixtures.ray import NAMESPACE
from tests.require import require_module
from tests.workers.jobs import House
from workers.meta.actor import end_learner, ensure_learner
from workers.runner import RECORDED, Runner

pytestmark = pytest.mark.ray

TRAINING = {"steps": 12, "batch_size": 7, "eval_every": 4, "sync_every": 5}


@pytest.fixture
def house(sqlite_url: str, ray_connection: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(sqlite_url, tmp_path, ray_address=ray_connection, ray_namespace=NAMESPACE)
    yield built
    built.memory.database.dispose()


def contribute(house: House, workers: int) -> str:
    """Runs a contributing job to its end, with its family's meta-learner; the job's id."""
    fence = house.start(
        training=TRAINING,
        optimizer={"learn": "covariance", "warp": "none"},
        resources={"workers": workers, "cpus_per_worker": 0.5},
    )
    family = house.job(fence.job_id).family_id
    ensure_learner(house.memory.settings, family)
    try:
        assert Runner(house.memory, fence).run() == RECORDED
    finally:
        end_learner(house.memory.settings, family)
    return fence.job_id


@pytest.mark.slow
def test_two_workers_train_like_one_and_both_contribute(house: House) -> None:
    """Batches of 7 over 2 workers: the shares are uneven, the mean gradient is the same."""
    one, two = contribute(house, 1), contribute(house, 2)
    for job in (one, two):
        row = house.job(job)
        assert (row.state, row.failure) == (JobState.SUCCEEDED, None)
        assert house.events(job).count("contribution.accepted") >= 2
    for name in ("train_loss", "val_loss", "grad_norm"):
        alone, together = house.points(one, name), house.points(two, name)
        assert [step for step, _ in alone] == [step for step, _ in together]
        assert [value for _, value in alone] == pytest.approx([value for _, value in together], rel=2e-4)


@pytest.mark.slow
def test_a_model_of_transformers_trains_on_two_workers_like_on_one(house: House) -> None:
    """Its library is imported by Ray's workers, its tied table is one parameter on both, and dropout is off."""
    require_module("transformers", "pip install 'warpadam[huggingface]'")
    config = {"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 32}
    quiet = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    losses = []
    for workers in (1, 2):
        fence = house.start(
            dataset={"builtin": "python-text", "part": "json"},
            task="language_modeling",
            model={"kind": "transformers", "config": config | quiet, "context": 32},
            init="family",
            training=TRAINING,
            resources={"workers": workers, "cpus_per_worker": 0.5},
        )
        assert Runner(house.memory, fence).run() == RECORDED
        assert house.job(fence.job_id).failure is None
        losses.append(house.points(fence.job_id, "train_loss"))
    alone, together = losses
    assert [step for step, _ in alone] == [step for step, _ in together]
    assert [value for _, value in alone] == pytest.approx([value for _, value in together], rel=2e-4)


@pytest.mark.slow
def test_a_worker_of_a_group_that_fails_says_why(house: House) -> None:
    fence = house.start(
        training=TRAINING,
        optimizer={"name": "adamw", "lr": 1e30, "learn": "none"},
        resources={"workers": 2, "cpus_per_worker": 0.5},
    )
    assert Runner(house.memory, fence).run() == RECORDED
    failure = house.job(fence.job_id).failure
    assert failure is not None
    assert (failure["category"], failure["code"]) == ("user", "not_finite")


@pytest.mark.slow
def test_a_warm_runner_runs_the_job_that_a_line_names(house: House) -> None:
    settings = house.memory.settings
    names = {"data_dir", "database_url", "storage_url", "ray_address", "ray_namespace"}
    variables = {f"WARPADAM_{name.upper()}": str(getattr(settings, name)) for name in names}
    process = subprocess.Popen(
        [sys.executable, "-m", "workers.runner", "--wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        fence = house.start(training=TRAINING)
        process.stdin.write(json.dumps({"job": fence.job_id, "attempt": fence.attempt, "token": fence.token}) + "\n")
        process.stdin.close()
    assert process.returncode == RECORDED
    assert house.job(fence.job_id).state == JobState.SUCCEEDED
