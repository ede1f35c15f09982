"""Starts from the first job to later rounds: decided once, made from the ledger alone, handed out in pairs with P."""

from threading import Event, Semaphore
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load

from service import families, growing, learning, starts
from service.db import start_queries
from service.db.models import Job
from service.learning import StaleEpochError
from tests.service.kit import NOW, PROJECT, classes
from tests.workers.meta.nursery import Nursery
from warpadam.learn.packed import Sums, pack
from warpadam.learn.starts import LEAST, RULE
from warpadam.learn.statistics import JobSum
from workers.meta.ledger import DamagedLedgerError
from workers.meta.starts import StartKeeper, began, grow, precision
from workers.tasks import models


def test_contributors_of_a_round_give_their_average_and_the_next_job_begins_there(nursery: Nursery) -> None:
    jobs = [nursery.submit(), nursery.submit()]
    assert [job.resolved["start_version"] for job in jobs] == [0, 0]
    for job, by in zip(jobs, (0.1, 0.3), strict=True):
        nursery.succeed(job, by)
    nursery.keeper.tend()
    (version,) = nursery.versions()
    assert nursery.bias(version) == pytest.approx(0.2, rel=1e-5)
    assert [each["job"] for each in version.jobs] == sorted(job.id for job in jobs)
    assert version.datasets == [jobs[0].dataset_id]
    third = nursery.submit()
    assert third.resolved["start_version"] == 1
    assert third.resolved["base"]["path"] == version.path
    assert third.resolved["anchor"] == jobs[0].resolved["anchor"]  # the start has grown, its axes are the same


def test_the_weights_of_one_or_two_jobs_are_no_start(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for count in range(1, growing.FIRST + 1):
        job = nursery.submit()
        assert job.resolved["start_version"] == 0
        nursery.succeed(job, 0.1)
        nursery.keeper.tend()
        assert len(nursery.versions()) == (count == growing.FIRST)


def test_each_counts_once_however_often_it_is_looked_at_and_by_whomever(nursery: Nursery) -> None:
    nursery.succeed(nursery.submit(), 0.1)
    nursery.keeper.tend()
    nursery.keeper.tend()
    heir = nursery.heir()
    heir.tend()
    assert len(nursery.versions()) == 1
    nursery.succeed(nursery.submit(), 0.1)
    with pytest.raises(StaleEpochError):
        nursery.keeper.tend()
    heir.tend()
    assert len(nursery.versions()) == 1  # the second began from version 1: a round of its own, with too few yet


def test_a_later_round_waits_for_enough_and_moves_on_from_its_base(nursery: Nursery) -> None:
    nursery.succeed(nursery.submit(), 0.1)
    nursery.keeper.tend()
    other = nursery.bench.dataset()
    for by in (0.1, 0.2, 0.3, 0.4, 0.5):
        nursery.succeed(nursery.submit(dataset=other), by)
        nursery.keeper.tend()
    first, second = nursery.versions()
    assert second.datasets == sorted([*first.datasets, other.id])  # what the parent holds is in it too
    assert (second.round, second.parent) == (2, first.version)
    assert nursery.bias(second) == pytest.approx(0.1 + 0.3, rel=1e-5)
    assert len(second.jobs) == growing.ENOUGH


def test_a_version_follows_from_the_ledger_alone(nursery: Nursery) -> None:
    for by in (0.1, 0.3):
        nursery.succeed(nursery.submit(), by)
    accepted = nursery.keeper
    with nursery.database.read() as session:
        waiting = growing.waiting(session, nursery.family.id)
    for row, job in waiting:
        accepted._decide(row, job)  # as if it died before it made the version
    with nursery.database.read() as session:
        (growth,) = growing.due(session, nursery.family.id)
    _, data = grow(nursery.storage, growth, None)
    nursery.heir().tend()
    assert nursery.storage.get(nursery.versions()[0].path) == data


def unit_seen(job: Job, unit: int) -> Sums:
    """Every gradient fell on this hidden unit of the first layer."""
    diagonal = np.zeros(8)
    diagonal[unit] = 1.0
    return {f"param:layers.0.weight:0:8@{job.resolved['anchor']}": pack(np.diag(diagonal))}


def test_a_unit_that_a_job_never_woke_is_not_held_against_those_who_did(nursery: Nursery) -> None:
    first, second = nursery.submit(), nursery.submit()
    nursery.succeed(first, 1.0, unit_seen(first, 0))
    nursery.succeed(second, 0.0, unit_seen(second, 1))
    nursery.keeper.tend()
    (version,) = nursery.versions()
    assert version.rule == RULE
    biases = load(nursery.storage.get(version.path))["layers.0.bias"]
    least, most = LEAST, 8.0  # all of the squares on one unit of eight
    assert biases[:3].tolist() == pytest.approx([most / (most + least), least / (most + least), 0.5], rel=1e-5)
    assert float(load(nursery.storage.get(version.path))["layers.1.bias"].mean()) == pytest.approx(0.5)


def test_what_jobs_saw_may_be_folded_before_or_after_and_starts_of_the_first_rule_come_out_again(
    nursery: Nursery,
) -> None:
    job = nursery.submit()
    claim = nursery.bench.claim()
    assert claim is not None
    nursery.bench.start(claim.fence)
    sent = nursery.see(claim, unit_seen(job, 2))
    before = nursery.bench.read(lambda session: growing.seen_by(session, [job.id])[job.id])
    began_with = began(nursery.storage, job)
    expected = precision(nursery.storage, job, before, began_with)
    assert expected["layers.0.bias"][2] == 8.0
    total = nursery.storage.put("contributions", JobSum.of(sent).encode())
    paths = nursery.database.write(
        lambda session: learning.fold(
            session, nursery.family.id, nursery.keeper._epoch, job.id, total=total, steps=1, now=NOW
        )
    )
    for path in paths:
        nursery.storage.delete(path)
    after = nursery.bench.read(lambda session: growing.seen_by(session, [job.id])[job.id])
    again = precision(nursery.storage, job, after, began_with)
    for name in began_with:
        np.testing.assert_array_equal(again.get(name, 1.0), expected.get(name, 1.0))
    with pytest.raises(DamagedLedgerError):
        precision(nursery.storage, job, before, began_with)


@pytest.mark.parametrize("fields", [{"init": "random"}, {"optimizer": {"learn": "none"}}])
def test_who_gives_nothing_back(nursery: Nursery, fields: dict[str, Any]) -> None:
    job = nursery.submit(**fields)
    claim = nursery.bench.claim()
    assert claim is not None
    nursery.bench.start(claim.fence)
    nursery.bench.finish(claim.fence, "succeeded", result={})
    assert nursery.offered(job) is None


def test_a_family_may_switch_starts_off(nursery: Nursery) -> None:
    nursery.succeed(nursery.submit(), 0.1)
    nursery.keeper.tend()
    nursery.bench.write(lambda session: families.update(session, PROJECT, "f", starts=False))
    job = nursery.submit()
    assert job.resolved["start_version"] == 0
    nursery.succeed(job, 0.1)
    assert nursery.offered(job) is None


def test_the_family_chooses_the_step(nursery: Nursery) -> None:
    nursery.bench.write(lambda session: families.update(session, PROJECT, "f", start_step=0.5))
    nursery.succeed(nursery.submit(), 0.2)
    nursery.keeper.tend()
    assert nursery.bias(nursery.versions()[0]) == pytest.approx(0.1, rel=1e-5)


def test_weights_that_are_not_finite_are_refused_and_harm_nobody(nursery: Nursery) -> None:
    bad, good = nursery.submit(), nursery.submit()
    nursery.succeed(bad, float("nan"))
    nursery.succeed(good, 0.1)
    nursery.keeper.tend()
    offered = nursery.offered(bad)
    assert offered is not None
    assert offered.code == "not_finite"
    assert [each["job"] for each in nursery.versions()[0].jobs] == [good.id]


def test_another_number_of_outputs_takes_all_but_the_last_layer_and_gives_nothing_back(nursery: Nursery) -> None:
    fields: dict[str, Any] = {"task": "classification"}
    nursery.succeed(nursery.submit(dataset=nursery.bench.dataset(classes(["a", "b"])), **fields), 0.1)
    nursery.keeper.tend()
    other = nursery.bench.dataset(classes(["a", "b", "c"]))
    submission = nursery.bench.submission(other, init="family", **fields)
    assert submission.job.resolved["start_version"] == 1
    assert submission.job.resolved["fresh"] == ["layers.1.weight", "layers.1.bias"]
    assert [warning.code for warning in submission.warnings] == ["start_not_matching"]
    nursery.bench.claim()
    assert nursery.bench.write(lambda session: starts.offer(session, submission.job, NOW)) is None


def test_another_model_starts_from_the_seed_and_is_told_why(nursery: Nursery) -> None:
    nursery.succeed(nursery.submit(), 0.1)
    nursery.keeper.tend()
    submission = nursery.bench.submission(init="family", model={"arch": "mlp", "hidden": [9]})
    assert submission.job.resolved["start_version"] == 0
    assert "its hidden is [8], this job's is [9]" in submission.warnings[0].message


def test_a_start_that_grew_from_a_base(nursery: Nursery) -> None:
    base = nursery.submit(init="random", optimizer={"learn": "none"})
    zeros = models.build(base.resolved["model"], seed=0, anchor=None).state_dict()
    nursery.succeed_with(base, {name: torch.zeros_like(tensor) for name, tensor in zeros.items()})
    grows = {"family": f"{base.id}/best"}
    nursery.succeed(nursery.submit(init=grows), 0.4)
    nursery.keeper.tend()
    (version,) = nursery.versions()
    assert nursery.bias(version) == pytest.approx(0.4)
    job = nursery.submit(init=grows)
    assert (job.resolved["start_version"], job.resolved["init_identity"]) == (1, version.identity)
    assert nursery.submit().resolved["start_version"] == 0  # the seed's own line has not moved


def test_a_start_and_its_p_are_a_pair(nursery: Nursery) -> None:
    nursery.promise(1)
    nursery.succeed(nursery.submit(optimizer={"warp": "none"}), 0.1)
    nursery.keeper.tend()
    nursery.promise(2)
    nursery.bench.write(lambda session: families.update(session, PROJECT, "f", promotion="manual"))
    for by in (0.1, 0.2, 0.3, 0.4, 0.5):
        nursery.succeed(nursery.submit(optimizer={"warp": "none"}), by)
    nursery.keeper.tend()
    nursery.promise(3)
    assert [version.warp_version for version in nursery.versions()] == [1, 2]
    with nursery.database.read() as session:
        assert [starts.paired_with(session, nursery.family.id, v) for v in (1, 2, 3)] == [1, 2, 2]
    assert nursery.submit().resolved["start_version"] == 2  # champion is 2
    assert nursery.submit(optimizer={"warp": 1}).resolved["start_version"] == 1
    assert nursery.submit(optimizer={"name": "adamw"}).resolved["start_version"] == 2


def test_it_looks_when_it_begins_and_when_it_is_told_and_not_otherwise(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    tend = StartKeeper.tend

    def counted(keeper: StartKeeper) -> None:
        looks.append(len(nursery.versions()))
        tend(keeper)
        looked.release()

    looked = Semaphore(0)
    monkeypatch.setattr(StartKeeper, "tend", counted)
    nursery.keeper.start()
    try:
        assert looked.acquire(timeout=30)
        nursery.succeed(nursery.submit(), 0.1)
        assert not looked.acquire(timeout=0.2)
        nursery.keeper.notice()
        assert looked.acquire(timeout=30)
        assert len(nursery.versions()) == 1
    finally:
        nursery.keeper.close()
    assert looks == [0, 0]


def test_after_trouble_it_looks_again_by_itself(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.meta.starts.PATIENCE_S", 0.01)
    tries, done = iter([RuntimeError("the storage is away"), None]), Event()

    def tend(_keeper: StartKeeper) -> None:
        if (error := next(tries)) is not None:
            raise error
        done.set()

    monkeypatch.setattr(StartKeeper, "tend", tend)
    nursery.keeper.start()
    assert done.wait(30)
    nursery.keeper.close()


def test_the_dispatcher_wants_a_learner_while_weights_wait(nursery: Nursery) -> None:
    nursery.succeed(nursery.submit(), 0.1)
    with nursery.database.read() as session:
        assert start_queries.families_waiting(session) == [nursery.family.id]
    nursery.keeper.tend()
    with nursery.database.read() as session:
        assert start_queries.families_waiting(session) == []
