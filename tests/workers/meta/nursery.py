"""A family whose jobs begin from its start, without Ray: shared by the tests of starts and of their proof."""

from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save

from service import blobs, clock, families, learning, warps
from service.attempts import Claim, publish_checkpoint
from service.db import start_queries
from service.db.models import Family, Job, StartContribution, StartVersion, WarpVersion
from service.db.session import Database
from service.learning import Entry
from service.resolve import Resolved
from service.storage import Storage
from tests.service.kit import NOW, PROJECT, Bench
from warpadam.learn.packed import Sums
from warpadam.learn.statistics import Contribution
from workers.meta.starts import StartKeeper
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
