"""What tests of jobs start from: a database with ready datasets, and short ways to submit, claim and start."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from service import attempts, jobs
from service.attempts import Claim, Failure, Fence
from service.data.info import DatasetInfo
from service.db.models import Dataset, Event, Job
from service.db.session import Database
from service.ids import new_id
from service.pages import PageRequest
from service.spec import JobSpec
from service.states import JobState

T = TypeVar("T")

PROJECT = "default"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_S = 30.0
LIMITS = jobs.Limits()
CRASH = Failure("infrastructure", "worker_died", "The worker died.", retryable=True)
PREEMPTED = Failure("preemption", "preempted", "The node was taken away.", retryable=True)
MISTAKE = Failure("user", "not_finite", "The loss is not finite.", retryable=False)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def table(width: int = 4, targets: int = 1, rows: int = 80, **fields: Any) -> DatasetInfo:
    """A table of numbers whose targets are values."""
    target = {"kind": "values", "kinds": ["values"], "shape": [targets], "dtype": "float32"}
    given = {"input": {"shape": [width], "dtype": "float32"}, "target": target, **fields}
    return DatasetInfo.model_validate({"kind": "table", "train": rows, "val": 20, "size_bytes": 1000, **given})


def classes(labels: list[str], **fields: Any) -> DatasetInfo:
    target = {"kind": "classes", "kinds": ["classes"], "shape": [1], "dtype": "int64"}
    return table(target=target, classes=labels, **fields)


def images(labels: list[str]) -> DatasetInfo:
    return classes(labels, kind="images", input={"shape": [8, 8, 3], "dtype": "float32"})


def text(train: int = 10_000) -> DatasetInfo:
    target = {"kind": "none", "kinds": ["none"], "shape": [], "dtype": "none"}
    given = {"input": {"shape": [], "dtype": "uint8"}, "target": target}
    return DatasetInfo.model_validate({"kind": "text", "train": train, "val": 1000, "size_bytes": train, **given})


TRANSFORMER = {"arch": "transformer", "layers": 1, "width": 8, "heads": 2, "context": 16}


@dataclass
class Bench:
    """One database, and the dataset that jobs get if they name none."""

    database: Database
    ready: Dataset | None = None
    limits: jobs.Limits = LIMITS

    def write(self, work: Callable[[Session], T]) -> T:
        return self.database.write(work)

    def read(self, work: Callable[[Session], T]) -> T:
        with self.database.read() as session:
            return work(session)

    def dataset(self, info: DatasetInfo | None = None, *, state: str = "ready") -> Dataset:
        found = (info or table()).model_dump(mode="json")
        row = Dataset(id=new_id("ds"), project=PROJECT, state=state, options={}, info=found, created_at=NOW)
        row.sha256 = "a" * 64
        self.write(lambda session: session.add(row))
        return row

    def spec(self, dataset: Dataset, **fields: Any) -> JobSpec:
        body = {"family": "f", "task": "regression", "model": {"arch": "mlp", "hidden": [8]}, **fields}
        return JobSpec.model_validate({**body, "dataset": {"id": dataset.id}})

    def submission(self, dataset: Dataset | None = None, **fields: Any) -> jobs.Submission:
        if dataset is None:
            dataset = self.ready = self.ready or self.dataset()
        spec, limits = self.spec(dataset, **fields), self.limits
        return self.write(lambda session: jobs.submit(session, PROJECT, spec, dataset, limits))

    def submit(self, dataset: Dataset | None = None, **fields: Any) -> Job:
        return self.submission(dataset, **fields).job

    def claim(self, *, now: datetime = NOW, fits: Callable[[JobSpec], bool] = lambda _spec: True) -> Claim | None:
        return self.write(
            lambda session: attempts.claim_next(session, now=now, lease_s=LEASE_S, launcher="process", fits=fits)
        )

    def claimed(self, **fields: Any) -> Fence:
        """A job that was just submitted and claimed."""
        job = self.submit(**fields)
        claim = self.claim()
        assert claim is not None
        assert claim.job.id == job.id
        return claim.fence

    def running(self, **fields: Any) -> Fence:
        fence = self.claimed(**fields)
        self.start(fence)
        return fence

    def start(self, fence: Fence, *, step: int = 0, now: datetime = NOW) -> None:
        self.write(lambda session: attempts.start(session, fence, start_step=step, pid=1, now=now))

    def beat(self, fence: Fence, *, now: datetime = NOW, step: int = 1) -> attempts.Intent | None:
        return self.write(
            lambda session: attempts.heartbeat(session, fence, now=now, lease_s=LEASE_S, step=step, eta_s=1.0)
        )

    def finish(self, fence: Fence, outcome: attempts.Outcome, *, now: datetime = NOW, **said: Any) -> JobState:
        return self.write(lambda session: attempts.finish(session, fence, outcome=outcome, now=now, **said))

    def lose(self, fence: Fence, failure: Failure = CRASH, *, now: datetime = NOW, **how: Any) -> JobState:
        return self.write(lambda session: attempts.release_lost(session, fence, now=now, failure=failure, **how))

    def ask(self, what: str, job_id: str, now: datetime = NOW) -> Job:
        """cancel, pause or resume."""
        job: Job = self.write(lambda session: getattr(jobs, what)(session, PROJECT, job_id, now))
        return job

    def job(self, job_id: str) -> Job:
        return self.read(lambda session: session.get_one(Job, job_id))

    def state(self, job_id: str) -> JobState:
        return JobState(self.job(job_id).state)

    def path(self, job_id: str) -> list[str]:
        """The states that the job went through."""
        return [row.target for row in self.read(lambda session: jobs.transitions(session, job_id))]

    def events(self, job_id: str) -> list[Event]:
        statement = select(Event).where(Event.job_id == job_id).order_by(Event.seq)
        return self.read(lambda session: list(session.scalars(statement)))

    def listed(self, limit: int = 20, after: str | None = None, **filters: Any) -> tuple[list[str], str | None]:
        page = self.read(lambda session: jobs.list_(session, PROJECT, PageRequest(limit, after), **filters))
        return page.items, page.next_cursor
