"""A family with jobs that run, and contributions as its workers send them: what the tests of learning start from."""

from dataclasses import dataclass

import numpy as np
from sqlalchemy.orm import Session

from service import clock, families
from service.db.models import Attempt, Dataset, Family, Job, Json
from service.db.session import Database
from service.ids import new_id
from service.spec import JobSpec
from service.states import JobState
from warpadam.learn.packed import Packed, next_name, pack
from warpadam.learn.statistics import Contribution

MODEL: Json = {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 6, "output": 4}
KEYS = {"input:6": 6, "output:4": 4}
STEPS = 300


@dataclass(frozen=True)
class Running:
    """A job whose attempt 1 runs and holds the token."""

    id: str
    token: int = 1


def make_family(database: Database, name: str = "patches", promotion: str = "latest") -> Family:
    now = clock.now()
    return database.write(lambda session: families.create(session, "default", name, promotion=promotion, now=now))


def make_job(
    database: Database, family: Family, state: JobState = JobState.RUNNING, *, learn: str = "covariance"
) -> Running:
    """A job of the family in that state, with attempt 1 and token 1, over a dataset of its own."""
    job_id, dataset_id, now = new_id("job"), new_id("ds"), clock.now()
    spec = JobSpec.model_validate(
        {
            "family": family.name,
            "dataset": {"id": dataset_id},
            "task": "regression",
            "model": {"arch": "mlp", "hidden": [8]},
            "optimizer": {"learn": learn},
            "training": {"steps": STEPS},
        }
    )
    rows = [
        Dataset(id=dataset_id, project="default", state="ready", options={}, created_at=now),
        Job(
            id=job_id,
            project="default",
            family_id=family.id,
            dataset_id=dataset_id,
            state=state,
            spec=spec.model_dump(mode="json"),
            spec_version=1,
            resolved={"model": MODEL, "anchor": None, "steps": STEPS},
            token=1,
            attempt=1,
            progress_of=STEPS,
            created_at=now,
        ),
        Attempt(job_id=job_id, number=1, token=1, submission_id=f"{job_id}-1", launcher="process", created_at=now),
    ]

    def insert(session: Session) -> None:
        for row in rows:
            session.add(row)
            session.flush()

    database.write(insert)
    return Running(job_id)


def change_job(database: Database, job_id: str, **values: object) -> None:
    """Sets columns of the job's row, as if its attempt had ended or another one had begun."""

    def change(session: Session) -> None:
        job = session.get_one(Job, job_id)
        for name, value in values.items():
            setattr(job, name, value)

    database.write(change)


def sums(steps: int, seed: int = 0) -> dict[str, Packed]:
    """What a worker would have seen in so many steps: for each key a sum of `steps` matrices of trace 1."""
    rng = np.random.default_rng(seed)
    found = {}
    for key, size in KEYS.items():
        seen = rng.normal(size=(4 * size, size)) * np.arange(1, size + 1)
        matrix = seen.T @ seen
        found[key] = pack(matrix * (steps / np.trace(matrix)))
    return found


def paired_sums(steps: int, seed: int = 0) -> dict[str, Packed]:
    """The same with the products of each gradient and the next: what `hypergradient` sends."""
    found = sums(steps, seed)
    return found | {next_name(key): packed // 3 for key, packed in found.items()}


def contribution(
    job: Running,
    start: int,
    end: int,
    *,
    sequence: int = 0,
    attempt: int = 1,
    seed: int | None = None,
    **fields: object,
) -> Contribution:
    values = {
        "rule": "covariance",
        "job": job.id,
        "attempt": attempt,
        "sequence": sequence,
        "start": start,
        "end": end,
        "base_version": None,
        "sums": sums(end - start, start if seed is None else seed),
        "skipped": 0,
    }
    return Contribution(**{**values, **fields})
