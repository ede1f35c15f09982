"""What must hold once the system has settled, whatever died: read from the database, the storage and the process table.

Each check gives one line for each thing that is wrong.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.models import Attempt, Contribution, Event, Family, Job, MetricPoint, Transition, WarpVersion
from service.states import ALLOWED, TERMINAL, JobState
from tests.chaos import ray_view
from tests.chaos.house import House
from workers.meta.ledger import verify_ledger
from workers.registry import Registry

RAY_LETS_GO_S = 90.0
References = dict[str, dict[int, float]]
"""By shape: the training losses of a job that nothing happened to."""


def check(house: House, jobs: Sequence[str], references: References, *, timely: bool = True) -> list[str]:
    """Everything, for these jobs, all of which should have ended. `timely`: the time of day was left alone."""
    with house.database.read() as session:
        rows = [session.get_one(Job, job_id) for job_id in jobs]
        found = [line for job in rows for line in (*of_job(session, job, timely), *of_losses(session, job, references))]
        families = list(session.scalars(select(Family).order_by(Family.id)))
        found += [line for family in families for line in of_family(session, family)]
    for family in families:
        with house.database.read() as session:
            found += [f"{family.name}: {line}" for line in verify_ledger(session, house.storage, family.id).problems]
    return [*found, *of_processes(house), *of_ray(house)]


def of_job(session: Session, job: Job, timely: bool = True) -> Iterator[str]:
    yield from of_transitions(job, session.scalars(_by(Transition, job).order_by(Transition.id)).all())
    yield from of_attempts(job, session.scalars(_by(Attempt, job).order_by(Attempt.number)).all(), timely)
    yield from of_events(job, session.scalars(_by(Event, job).order_by(Event.seq)).all())
    yield from of_contributions(session, job)


def of_transitions(job: Job, transitions: Sequence[Transition]) -> Iterator[str]:
    """Terminal exactly once, and each step of the way is one that the table allows."""
    if not JobState(job.state).is_terminal:
        yield f"{job.id}: is still {job.state}"
    if sum(JobState(each.target) in TERMINAL for each in transitions) > 1:
        yield f"{job.id}: ended more than once"
    if job.state == JobState.FAILED and job.failure is not None:
        yield f"{job.id}: failed, and nothing was wrong with it: {job.failure}"
    if transitions and transitions[-1].target != job.state:
        yield f"{job.id}: is {job.state}, its last transition led to {transitions[-1].target}"
    for before, after in pairwise(transitions):
        if after.source != before.target or JobState(after.target) not in ALLOWED[JobState(before.target)]:
            yield f"{job.id}: {before.target} was followed by {after.source} to {after.target}"


def of_attempts(job: Job, attempts: Sequence[Attempt], timely: bool) -> Iterator[str]:
    if [each.number for each in attempts] != list(range(1, job.attempt + 1)):
        yield f"{job.id}: attempts {[each.number for each in attempts]} of {job.attempt}"
    for each in attempts:
        if each.outcome is None or each.finished_at is None:
            yield f"{job.id}: attempt {each.number} has no end"
    for before, after in pairwise(attempts) if timely else ():
        if before.finished_at is not None and after.created_at < before.finished_at:
            yield f"{job.id}: attempt {after.number} began before {before.number} had ended"


def of_events(job: Job, events: Sequence[Event]) -> Iterator[str]:
    if [event.seq for event in events] != list(range(1, job.event_seq + 1)):
        yield f"{job.id}: its events have gaps"
    ends = sum(event.type == "end" for event in events)
    if ends != JobState(job.state).is_terminal:
        yield f"{job.id}: is {job.state} and has {ends} events 'end'"


def of_contributions(session: Session, job: Job) -> Iterator[str]:
    """None of its steps twice; each acknowledgement is one row; what it gave is in a published version."""
    rows = session.scalars(_by(Contribution, job).order_by(Contribution.start)).all()
    for before, after in pairwise(rows):
        if after.start < before.end:
            yield f"{job.id}: steps {after.start} to {before.end} were counted twice"
    if any(not 0 <= row.start < row.end <= job.progress_of for row in rows):
        yield f"{job.id}: a contribution is outside its {job.progress_of} steps"
    told = _by(Event, job).where(Event.type == "contribution.accepted")
    accepted = Counter((event.data["start"], event.data["end"]) for event in session.scalars(told))
    if accepted != Counter((row.start, row.end) for row in rows):
        yield f"{job.id}: the contributions that were acknowledged are not those of the ledger"
    if job.state == JobState.SUCCEEDED and rows:
        newest = select(WarpVersion).where(WarpVersion.family_id == job.family_id, WarpVersion.epoch > 0)
        version = session.scalars(newest.order_by(WarpVersion.version.desc()).limit(1)).one_or_none()
        named = {each["job"]: each["contributions"] for each in version.jobs} if version else {}
        if named.get(job.id) != len(rows):
            yield f"{job.id}: succeeded, and {named.get(job.id)} of its {len(rows)} contributions are published"


def of_losses(session: Session, job: Job, references: References) -> Iterator[str]:
    """No gap and no step twice; a resumed job's losses are those of one that was never stopped."""
    points = session.scalars(_by(MetricPoint, job).where(MetricPoint.name == "train_loss").order_by(MetricPoint.step))
    losses = {point.step: point.value for point in points}
    reached = max(losses, default=0)
    if job.state == JobState.SUCCEEDED and reached != job.progress_of:
        yield f"{job.id}: succeeded, and its losses end at step {reached} of {job.progress_of}"
    if sorted(losses) != list(range(1, reached + 1)):
        missing = sorted(set(range(1, reached + 1)) - set(losses))
        yield f"{job.id}: {len(missing)} losses are missing: {missing[:10]}"
    reference = references.get(job.spec["metadata"].get("shape", ""))
    if reference is None:
        return
    exact = job.spec["resources"]["workers"] == 1
    for step, loss in losses.items():
        same = loss == reference[step] if exact else math.isclose(loss, reference[step], rel_tol=1e-3)
        if not same:
            yield f"{job.id}: its loss at step {step} is {loss}, unkilled it is {reference[step]}"
            return


def of_family(session: Session, family: Family) -> Iterator[str]:
    """One writer per epoch: who wrote a version was the newest meta-learner then."""
    counted = len(session.scalars(select(Contribution.id).where(Contribution.family_id == family.id)).all())
    if counted != family.accepted:
        yield f"{family.name}: {family.accepted} contributions were accepted, the ledger has {counted}"
    versions = session.scalars(
        select(WarpVersion).where(WarpVersion.family_id == family.id).order_by(WarpVersion.version)
    ).all()
    if [each.version for each in versions] != list(range(1, len(versions) + 1)):
        yield f"{family.name}: the versions' numbers have gaps"
    for before, after in pairwise(versions):
        if after.epoch < before.epoch or after.epoch > family.epoch:
            yield f"{family.name}: version {after.version} is of epoch {after.epoch}, after {before.epoch}"


def of_processes(house: House) -> Iterator[str]:
    """No runner works for a job that has ended, and nobody left a folder behind."""
    for entry in Registry(house.data / "logs" / "running").entries():
        if entry.submission is not None and entry.program.lives():
            yield f"process {entry.program.pid} still works for {entry.submission}"
    known = {entry.program.pid for entry in Registry(house.data / "logs" / "running").entries()}
    for process in house.children("workers.runner"):
        if process.pid not in known:
            yield f"runner {process.pid} is known to nobody"
    if house.children("ray::", "TrainWorker"):
        yield "a training worker is left"
    for folder in house.temporary.glob("wa-*"):
        yield f"{folder.name} of an attempt is left"


def of_ray(house: House) -> list[str]:
    """What Ray holds for nobody, after it had a while to let go."""
    deadline = time.monotonic() + RAY_LETS_GO_S
    while True:
        dispatchers = house.children("-m workers")
        left = ray_view.left(house.ray_address, ray_view.environment_of(dispatchers[0])) if dispatchers else ["no Ray"]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(2)


def _by(table: type, job: Job):  # type: ignore[no-untyped-def]
    return select(table).where(table.job_id == job.id)
