"""`warp: data` in the loop: one basis on all ranks, made before the first step, kept over a resume."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tests.workers.plans import Learner, plan, regression
from tests.workers.test_train import image_plan, run, text_plan
from warpadam import Warp
from warpadam.learn import Contribution
from workers import checkpoints, preparing
from workers.group import Group
from workers.reporting import WarpUse


@pytest.mark.parametrize("make", [plan, image_plan], ids=["mlp", "convnet"])
def test_a_basis_from_its_own_data_is_in_use_from_the_first_step(make: Any) -> None:
    """It repeats itself, goes on from a resume with the P in the state, and contributes like any other job."""
    job = make(optimizer={"warp": "data"})
    learner = Learner()
    (_, whole), (_, again), (_, plain) = run(job, learner), run(job), run(make(optimizer={"warp": "none"}))
    assert whole.points("train_loss") == again.points("train_loss")
    assert whole.points("train_loss")[1:] != plain.points("train_loss")[1:]
    assert [one for one in whole.messages if isinstance(one, WarpUse)] == [WarpUse(0, None, "data")]
    assert {Contribution.decode(sent).base_version for sent in learner.sent if sent} == {None}
    saved = next(saved for saved in whole.saved if saved.step == 10)
    assert saved.state is not None
    stored = checkpoints.warp_of(saved.state)[1]
    assert stored is not None
    assert Warp.from_bytes(stored).metadata.rule == "data"
    x = np.zeros_like(job.split.x_train)
    other = replace(job, resume_model=saved.model, resume_state=saved.state)
    _, resumed = run(other)
    assert resumed.points("train_loss") == whole.points("train_loss")[10:]
    assert WarpUse(10, None, "data") in resumed.messages
    changed = replace(other, split=replace(job.split, x_train=x))
    assert preparing.starting_warp(changed, {}, Group()) == (None, stored)


def test_its_own_data_may_say_nothing() -> None:
    """Text: no axis gets a matrix, and the job trains as it would without P."""
    (_, own), (_, plain) = (run(text_plan(optimizer={"warp": warp})) for warp in ("data", "none"))
    assert own.points("train_loss") == plain.points("train_loss")
    assert [one for one in own.messages if isinstance(one, WarpUse)] == [WarpUse(0, None)]


def test_all_ranks_have_the_leaders_basis(tmp_path: Path) -> None:
    """Whatever another rank would make of its own copy of the data: eigensolvers differ between machines."""
    torch.multiprocessing.spawn(_start_on_rank, (str(tmp_path),), nprocs=2)
    first, second = ((tmp_path / f"rank{rank}").read_bytes() for rank in (0, 1))
    assert Warp.from_bytes(first).keys() == ("input:6", "output:3")
    assert first == second


def _start_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    job = plan(optimizer={"warp": "data"}, split=regression() if rank == 0 else regression(rows=40))
    model = preparing.prepare_model(job, Group(rank, 2))
    _, warp = preparing.starting_warp(job, model.axis_keys, Group(rank, 2))
    assert warp is not None
    (Path(folder) / f"rank{rank}").write_bytes(warp)
    dist.destroy_process_group()
