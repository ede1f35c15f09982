"""Checkpoints of jobs: the marks, what a resume starts from, and references."""

from typing import Any

import pytest

from service import attempts, checkpoints, jobs
from service.attempts import Fence
from service.db.models import Checkpoint
from service.errors import BadReference, NotFound
from service.pages import PageRequest
from service.storage import Stored
from tests.service.kit import NOW, PROJECT, Bench, later


def publish(
    bench: Bench, fence: Fence, step: int, *, best: bool = False, content: str = "a", state: bool = True
) -> str:
    made = {"val_loss": 0.5, "is_best": best, "model": {}, "now": later(step)}
    stored = Stored(f"model/{content * 2}/{content * 64}", content * 64, 10)
    resume = Stored("state/bb/" + "b" * 64, "b" * 64, 20) if state else None
    row = bench.write(
        lambda session: attempts.publish_checkpoint(session, fence, step=step, stored=stored, state=resume, **made)
    )
    return row.id


def find(bench: Bench, job_id: str, which: Any) -> Checkpoint:
    return bench.read(lambda session: checkpoints.find(session, PROJECT, job_id, which))


def test_marks_move(bench: Bench) -> None:
    fence = bench.running()
    for which in ("best", "last", 1):
        with pytest.raises(NotFound):
            find(bench, fence.job_id, which)
    publish(bench, fence, 1, best=True)
    publish(bench, fence, 2)
    assert [find(bench, fence.job_id, which).step for which in ("best", "last", 1, 2)] == [1, 2, 1, 2]
    publish(bench, fence, 3, best=True)
    assert [find(bench, fence.job_id, which).step for which in ("best", "last")] == [3, 3]
    page = bench.read(lambda session: checkpoints.list_(session, PROJECT, fence.job_id, PageRequest()))
    assert [(row.step, row.is_best, row.is_last) for row in page.items] == [
        (3, True, True),
        (2, False, False),
        (1, False, False),
    ]
    told = [event.data["step"] for event in bench.events(fence.job_id) if event.type == "checkpoint.saved"]
    assert told == [1, 2, 3]


def test_a_resumed_attempt_writes_over_a_step(bench: Bench) -> None:
    fence = bench.running()
    first = publish(bench, fence, 5, best=True, content="c")
    assert publish(bench, fence, 5, content="d") == first
    row = find(bench, fence.job_id, 5)
    assert (row.sha256, row.is_best) == ("d" * 64, False)


def test_a_resume_needs_the_optimizers_state(bench: Bench) -> None:
    fence = bench.running()
    assert bench.read(lambda session: attempts.latest_checkpoint(session, fence.job_id)) is None
    publish(bench, fence, 4)
    publish(bench, fence, 8, state=False)
    found = bench.read(lambda session: attempts.latest_checkpoint(session, fence.job_id))
    assert found is not None
    assert found.step == 4


def test_references(bench: Bench) -> None:
    fence = bench.running()
    id_ = publish(bench, fence, 4, best=True)
    for ref in (id_, f"{fence.job_id}/best", f"{fence.job_id}/last", f"{fence.job_id}/4"):
        found = bench.read(lambda session, text=ref: checkpoints.resolve_reference(session, PROJECT, text))
        assert found.id == id_
    for ref in (f"{fence.job_id}/5", fence.job_id, "ckpt_" + "0" * 26, "", f"{fence.job_id}/worst"):
        with pytest.raises(BadReference) as caught:
            bench.read(lambda session, text=ref: checkpoints.resolve_reference(session, PROJECT, text))
        assert caught.value.error_code == "checkpoint_not_found"
    with pytest.raises(BadReference):
        bench.read(lambda session: checkpoints.resolve_reference(session, "other", f"{fence.job_id}/best"))


def test_a_deleted_jobs_checkpoints_are_gone(bench: Bench) -> None:
    fence = bench.running()
    publish(bench, fence, 4, best=True)
    bench.finish(fence, "succeeded")
    bench.write(lambda session: jobs.delete(session, PROJECT, fence.job_id, NOW))
    with pytest.raises(NotFound):
        find(bench, fence.job_id, "best")
