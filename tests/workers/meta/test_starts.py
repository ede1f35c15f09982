"""Starts from the first job to later rounds: decided once, made from the ledger alone, handed out in pairs with P."""

from dataclasses import dataclass
from threading import Event, Semaphore
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sqlalchemy import update

from service import blobs, clock, families, growing, learning, starts, warps
from service.attempts import Claim, publish_checkpoint
from service.db import start_queries
from service.db.models import Family, Job, StartContribution, StartVersion, WarpVersion
from service.db.session import Database
from service.learning import Entry, StaleEpochError
from service.resolve import Resolved
from service.storage import Storage
from tests.service.kit import NOW, PROJECT, Bench, classes
from warpadam.learn.packed import Sums, pack
from warpadam.learn.starts import LEAST, RULE
from warpadam.learn.statistics import Contribution, JobSum
from workers.meta.ledger import DamagedLedgerError
from workers.meta.proof import verify_starts
from workers.meta.starts import StartKeeper, began, grow, precision
from workers.tasks import models


@dataclass
class Nursery:
    """A family, jobs that begin from its start, and the keeper that makes the next one."""

    database: Database
    storage: Storage

    def __post_init__(self) -> None:
        self.bench = Bench(self.database)
        self.bench.ready = self.bench.dataset()
        self.family: Family = self.bench.write(lambda session: families.ensure(session, PROJECT, "f"))
        self.keeper = self.heir()

    def heir(self) -> StartKeeper:
        epoch = self.database.write(lambda session: learning.claim_epoch(session, self.family.id, now=clock.now()))
        return StartKeeper(self.database, self.storage, self.family.id, epoch)

    def submit(self, **fields: Any) -> Job:
        return self.bench.submit(**{"init": "family", **fields})

    def succeed(self, job: Job, by: float, saw: Sums | None = None) -> None:
        """The job runs, sees what it contributes to P, and ends with its first weights moved by that much."""
        model = models.build(job.resolved["model"], seed=job.resolved["init_seed"], anchor=None)
        state = model.state_dict()
        base = Resolved.model_validate(job.resolved).base
        if base is not None:
            state = load(self.storage.get(base.path))
        self.succeed_with(job, {name: tensor + by for name, tensor in state.items()}, saw)

    def succeed_with(self, job: Job, weights: dict[str, torch.Tensor], saw: Sums | None = None) -> None:
        claim = self.bench.claim()
        assert claim is not None
        assert claim.job.id == job.id
        self.bench.start(claim.fence)
        if saw is not None:
            self.see(claim, saw)
        stored = self.storage.put("checkpoints", save(weights))
        self.bench.write(
            lambda session: publish_checkpoint(
                session, claim.fence, step=1, stored=stored, state=None, val_loss=1.0, is_best=True, model=None, now=NOW
            )
        )
        self.bench.finish(claim.fence, "succeeded", result={})

    def see(self, claim: Claim, sums: Sums) -> Contribution:
        """The running job contributes this to P, and it is in the ledger."""
        job = claim.job
        sent = Contribution("covariance", job.id, job.attempt, 0, 0, 1, None, sums, 0)
        stored = self.storage.put("contributions", sent.encode())
        entry = Entry(job.id, job.attempt, 0, 0, 1, None, sent.rule, 0, sent.digest, stored.size, stored.path)
        epoch, token = self.keeper._epoch, claim.fence.token
        self.bench.write(lambda session: learning.accept(session, self.family.id, epoch, entry, token=token, now=NOW))
        return sent

    def versions(self) -> list[StartVersion]:
        statement = start_queries.versions(self.family.id).order_by(StartVersion.version)
        return self.bench.read(lambda session: list(session.scalars(statement)))

    def offered(self, job: Job) -> StartContribution | None:
        return self.bench.read(lambda session: session.get(StartContribution, job.id))

    def bias(self, version: StartVersion) -> float:
        """The seed's biases are zero, so this is how far the start has moved."""
        return float(load(self.storage.get(version.path))["layers.0.bias"].mean())

    def promise(self, version: int) -> None:
        """A version of P, without its file."""
        row = WarpVersion(
            family_id=self.family.id, version=version, epoch=1, rule="covariance", sha256="0", size=0, created_at=NOW
        )
        row.keys = [{"key": "input:4", "size": 4}]
        row.sha256 = blobs.store(self.database, f"P {version}".encode())

        def add(session: Any) -> None:
            warps.add(session, session.get_one(Family, self.family.id), row, reason="test")

        self.bench.write(add)


@pytest.fixture
def nursery(database: Database, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Nursery:
    """Where one contributor is enough for the first round, which keeps the tests short."""
    monkeypatch.setattr(growing, "FIRST", 1)
    return Nursery(database, storage)


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
    for by in (0.1, 0.2, 0.3):
        nursery.succeed(nursery.submit(dataset=other), by)
        nursery.keeper.tend()
    first, second = nursery.versions()
    assert second.datasets == sorted([*first.datasets, other.id])  # what the parent holds is in it too
    assert (second.round, second.parent) == (2, first.version)
    assert nursery.bias(second) == pytest.approx(0.1 + 0.2, rel=1e-5)
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
    for by in (0.1, 0.2, 0.3):
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


@pytest.fixture
def grown(nursery: Nursery) -> Nursery:
    """Two rounds, and the second one's base is a version that retention would let go of otherwise."""
    for by in (0.1, 0.3):
        nursery.succeed(nursery.submit(), by)
    nursery.keeper.tend()
    for by in (0.1, 0.2, 0.3):
        nursery.succeed(nursery.submit(), by)
    nursery.keeper.tend()
    return nursery


def proved(nursery: Nursery) -> list[str]:
    with nursery.database.read() as session:
        return verify_starts(session, nursery.storage, nursery.family.id)


def test_every_start_is_what_its_ledger_says(grown: Nursery) -> None:
    assert [(version.version, version.round) for version in grown.versions()] == [(1, 1), (2, 2)]
    assert proved(grown) == []
    grown.succeed(grown.submit(), 0.1)  # undecided weights change nothing
    assert proved(grown) == []


@pytest.mark.parametrize(
    ("table", "values", "told"),
    [
        (StartVersion, {"step": 0.5}, "other weights"),
        (StartContribution, {"norm": 1e3}, "counts for"),
        (StartContribution, {"round": 7}, "not in round 2"),
    ],
    ids=["step", "norm", "round"],
)
def test_a_start_that_is_not_is_told(grown: Nursery, table: Any, values: dict[str, Any], told: str) -> None:
    newest = grown.versions()[-1]
    chosen = table.version == 2 if table is StartVersion else table.job_id == newest.jobs[0]["job"]
    grown.bench.write(lambda session: session.execute(update(table).where(chosen).values(**values)))
    (problem,) = proved(grown)
    assert problem.startswith("start 2: ")
    assert told in problem


def test_weights_of_another_content_are_told(grown: Nursery) -> None:
    """As if a start had been put in the place of another: its file is sound, and not what follows."""
    first, second = grown.versions()
    other = {"path": first.path, "sha256": first.sha256, "size": first.size}
    grown.bench.write(
        lambda session: session.execute(update(StartVersion).where(StartVersion.version == 2).values(**other))
    )
    (problem,) = proved(grown)
    assert "other weights" in problem
    assert second.version == 2


def test_a_start_whose_files_retention_removed_is_not_proved(grown: Nursery) -> None:
    job_id = grown.versions()[-1].jobs[0]["job"]
    grown.bench.write(lambda session: setattr(session.get_one(StartContribution, job_id), "collected_at", NOW))
    assert proved(grown) == []


def test_a_file_that_is_missing_is_a_problem(grown: Nursery) -> None:
    row = grown.bench.read(lambda session: session.get_one(StartContribution, grown.versions()[-1].jobs[0]["job"]))
    grown.storage.delete(row.path)
    (problem,) = proved(grown)
    assert "is gone" in problem
