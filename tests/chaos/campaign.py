"""Rounds of blows on one house: jobs are submitted, things go wrong, the system settles, everything is checked."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from service import clock
from service.db.models import Attempt, Contribution, Job, MetricPoint, Snapshot
from service.states import JobState
from tests.chaos import blows, invariants, load
from tests.chaos.house import House, until
from tests.chaos.plan import GROUPS, Blow, Round
from workers.registry import Registry

SETTLE_S = 1200.0
"""A machine that others use too may take minutes to load a program."""
NOTICED = timedelta(seconds=3)
"""A sign of life before that may be of a part that has not noticed yet what happened."""


@dataclass
class Result:
    """What a campaign saw. Seconds to recover are from the blow to a healthy service whose jobs all go on."""

    database: str
    seed: int
    rounds: int = 0
    hits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    missed: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    jobs: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    contributions: int = 0
    submitted: int = 0
    """Jobs that were accepted."""
    lost: int = 0
    """Of these, that have no end."""
    problems: list[str] = field(default_factory=list)


class Twice(threading.Thread):
    """Looks again and again for two living programs of one job."""

    def __init__(self, house: House) -> None:
        super().__init__(daemon=True)
        self._registry = Registry(house.data / "logs" / "running")
        self.over, self.found = threading.Event(), set[str]()

    def run(self) -> None:
        while not self.over.wait(0.2):
            living: dict[str, list[int]] = defaultdict(list)
            for entry in self._registry.entries():
                if entry.submission is not None and entry.program.lives():
                    living[entry.submission.rpartition("-")[0]].append(entry.program.pid)
            self.found |= {f"{job}: ran twice at the same time" for job, pids in living.items() if len(pids) > 1}


@dataclass
class Campaign:
    house: House
    result: Result
    group_every: int = 0
    """Every so many rounds one of the jobs has two workers; 0: only where one of them is to be killed."""
    references: invariants.References = field(default_factory=dict)

    def prepare(self, shapes: Iterable[int], *, groups: bool) -> None:
        """Runs each kind of job once while nothing goes wrong."""
        specs = [load.job(shape) for shape in shapes] + ([load.job(0, group=True)] if groups else [])
        for job_id, spec in [(self.submit(spec), spec) for spec in specs]:
            self.settle([job_id])
            self.references[spec["metadata"]["shape"]] = self.losses(job_id)
            assert self._states([job_id]) == {JobState.SUCCEEDED: 1}, "a job fails while nothing is wrong"

    def run(self, plan: Sequence[Round], until_s: float = float("inf")) -> None:
        twice = Twice(self.house)
        twice.start()
        for each in plan:
            if time.monotonic() > until_s:
                break
            self.round(each)
        twice.over.set()
        twice.join()
        self.result.problems += sorted(twice.found)
        self.count()

    def round(self, plan: Round) -> None:
        turn = self.group_every and plan.number % self.group_every == 0
        group = turn or any(blow.kind in GROUPS for blow in plan.blows)
        specs = [load.job(number) for number in plan.jobs]
        if group and "group-0" in self.references:
            specs[0] = load.job(0, group=True)
        jobs = [self.submit(spec) for spec in specs]
        threads = [threading.Thread(target=self._deal, args=(blow, jobs), daemon=True) for blow in plan.blows]
        if plan.word != "none":
            threads.append(threading.Thread(target=self._say, args=(plan, jobs[-1]), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SETTLE_S)
        try:
            self.settle(jobs)
        except AssertionError as error:
            self.result.problems.append(f"round {plan.number} ({[blow.kind for blow in plan.blows]}): {error}")
        self.result.rounds += 1
        timely = all(blow.kind != "clock" for blow in plan.blows)
        self.result.problems += [
            f"round {plan.number} ({', '.join(blow.kind for blow in plan.blows)}): {line}"
            for line in invariants.check(self.house, jobs, self.references, timely=timely)
        ]

    def submit(self, spec: load.Json) -> str:
        job = self.house.submit(spec)
        self.result.submitted += 1
        return job

    def _deal(self, blow: Blow, jobs: Sequence[str]) -> None:
        time.sleep(blow.after_s)
        began, at = time.monotonic(), clock.now()
        try:
            hit = blows.deal(self.house, blow)
        except Exception as error:
            self.result.problems.append(f"the blow {blow.kind} itself failed: {error!r}")
            return
        (self.result.hits if hit else self.result.missed)[blow.kind] += 1
        if not hit:
            return
        with suppress(AssertionError):  # what never recovers is found by `settle`
            until(lambda: self._is_healthy(jobs, at + NOTICED), "recovery", SETTLE_S)
            self.result.seconds[blow.kind].append(time.monotonic() - began)

    def _is_healthy(self, jobs: Sequence[str], since: datetime) -> bool:
        """A dispatcher with Ray wrote since then, and each job has ended, or its attempt gave a sign of life."""
        try:
            with self.house.database.read() as session:
                snapshots = session.scalars(select(Snapshot).where(Snapshot.at > since)).all()
                if not any(row.data["ray"]["connected"] for row in snapshots):
                    return False
                for job in session.scalars(select(Job).where(Job.id.in_(jobs), Job.finished_at.is_(None))):
                    attempt = session.get(Attempt, (job.id, job.attempt))
                    beat = attempt.heartbeat_at if attempt else None
                    if JobState(job.state).has_attempt and (beat is None or beat <= since):
                        return False
                    if job.state == JobState.QUEUED and job.attempt > 0:
                        return False
        except DBAPIError:
            return False
        return self.house.call("GET", "/healthz").status_code == 200

    def _say(self, plan: Round, job: str) -> None:
        """A user's word in the middle of it; a pause is taken back."""
        time.sleep(plan.word_after_s)
        self.house.call("POST", f"/v1/jobs/{job}/{plan.word}", seconds=SETTLE_S)
        while plan.word == "pause":
            state = self.house.call("GET", f"/v1/jobs/{job}", seconds=SETTLE_S).json()["state"]
            if state == JobState.PAUSED:
                self.house.call("POST", f"/v1/jobs/{job}/resume", seconds=SETTLE_S)
            if state == JobState.PAUSED or JobState(state).is_terminal:
                return
            time.sleep(0.3)

    def settle(self, jobs: Sequence[str]) -> None:
        """Until all of them have ended, and nothing works for them any more."""

        def settled() -> bool:
            try:
                return all(state.is_terminal for state in self._states(jobs))
            except DBAPIError:
                return False

        until(settled, f"all jobs end ({jobs})", SETTLE_S)
        with suppress(AssertionError):  # the check of the processes says what is left
            until(lambda: not list(invariants.of_processes(self.house)), "no process is left", 60)

    def _states(self, jobs: Sequence[str]) -> dict[JobState, int]:
        with self.house.database.read() as session:
            rows = session.execute(select(Job.state, func.count()).where(Job.id.in_(jobs)).group_by(Job.state))
            return {JobState(state): count for state, count in rows}

    def losses(self, job_id: str) -> dict[int, float]:
        with self.house.database.read() as session:
            of_job = select(MetricPoint).where(MetricPoint.job_id == job_id, MetricPoint.name == "train_loss")
            return {point.step: point.value for point in session.scalars(of_job)}

    def count(self) -> None:
        with self.house.database.read() as session:
            rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
            self.result.jobs = {str(state): count for state, count in rows}
            self.result.attempts = session.scalar(select(func.count()).select_from(Attempt)) or 0
            ended = sum(count for state, count in self.result.jobs.items() if JobState(state).is_terminal)
            self.result.lost = self.result.submitted - ended
            self.result.contributions = session.scalar(select(func.count()).select_from(Contribution)) or 0
