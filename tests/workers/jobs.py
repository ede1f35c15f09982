"""Real jobs in a real database, made by the service's own use cases, for the tests of the runner."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service import attempts, clock, datasets, events, examining, jobs, metrics, origins
from service.attempts import Claim, Fence
from service.db.models import Job
from service.pages import PageRequest
from service.resolve import Limits
from service.settings import Settings
from service.spec import DatasetOptions, JobSpec
from tests.workers.code.packed import packed
from tests.workers.plans import regression
from workers.loading import Memory


@dataclass(frozen=True)
class House:
    """A service without its processes: memory, and what they would do."""

    memory: Memory
    dataset: str

    @classmethod
    def build(cls, url: str, folder: Path, **settings: Any) -> "House":
        memory = Memory.of(
            Settings(
                data_dir=folder,
                database_url=url,
                storage_url=str(folder / "storage"),
                **{
                    "heartbeat_s": 0.05,
                    "publish_every_s": 0,
                    "allow_code": True,
                    "code_confinement": "preferred",
                    **settings,
                },
            )
        )
        return cls(memory, _upload(memory))

    def submit(self, **fields: Any) -> str:
        spec = JobSpec.model_validate(
            {
                "family": "tests",
                "dataset": {"id": self.dataset},
                "task": "regression",
                "model": {"arch": "mlp", "hidden": [8]},
                **fields,
                "optimizer": {"learn": "none", "lr": 0.01, **fields.get("optimizer", {})},
                "training": {"steps": 20, "batch_size": 8, "seed": 1, **fields.get("training", {})},
            }
        )
        database = self.memory.database
        row = datasets.for_spec(database, self.memory.storage, self.memory.settings, "default", spec.dataset)
        submission = database.write(
            lambda session: jobs.submit(session, "default", spec, row, Limits(code_refused=None))
        )
        return submission.job.id

    def package(self, files: dict[str, str | bytes]) -> str:
        """Registers a package of user code; its id."""
        memory, options = self.memory, DatasetOptions(format="package")
        origin = origins.Uploaded(memory.storage.put("datasets", packed(files)), "net.zip")
        examined = examining.examine(memory.storage, memory.settings, origin, options)
        assert examined.error is None
        return memory.database.write(lambda session: datasets.add(session, "default", examined, clock.now())).id

    def claim(self) -> Claim:
        claim = self.memory.database.write(
            lambda session: attempts.claim_next(
                session,
                now=clock.now(),
                lease_s=self.memory.settings.lease_s,
                launcher="process",
                fits=lambda spec: True,
            )
        )
        assert claim is not None
        return claim

    def start(self, **fields: Any) -> Fence:
        """Submits and claims."""
        self.submit(**fields)
        return self.claim().fence

    def job(self, job_id: str) -> Job:
        with self.memory.database.read() as session:
            return jobs.get(session, "default", job_id)

    def points(self, job_id: str, name: str) -> list[tuple[int, float]]:
        with self.memory.database.read() as session:
            found = metrics.read(session, job_id, [name], 10_000).get(name, [])
        return [(point.step, point.value) for point in found]

    def events(self, job_id: str) -> list[str]:
        with self.memory.database.read() as session:
            return [event.type for event in events.list_(session, job_id, PageRequest(limit=100)).items]

    def cancel(self, job_id: str) -> None:
        self.memory.database.write(lambda session: jobs.cancel(session, "default", job_id, clock.now()))

    def pause(self, job_id: str) -> None:
        self.memory.database.write(lambda session: jobs.pause(session, "default", job_id, clock.now()))

    def resume(self, job_id: str) -> None:
        self.memory.database.write(lambda session: jobs.resume(session, "default", job_id, clock.now()))


def _upload(memory: Memory) -> str:
    split, file = regression(), io.BytesIO()
    np.savez(file, x_train=split.x_train, y_train=split.y_train, x_val=split.x_val, y_val=split.y_val)
    stored = memory.storage.put("datasets", file.getvalue())
    origin = origins.Uploaded(stored, "values.npz")
    examined = examining.examine(memory.storage, memory.settings, origin, DatasetOptions())
    row = memory.database.write(lambda session: datasets.add(session, "default", examined, clock.now()))
    return row.id
