"""What a meta-learner may write: the ledger of contributions, and the versions that were solved from it.

Every statement here is conditional on the family's epoch, which each new meta-learner raises as it begins: of two, only
the newer can write, and the older gets StaleEpoch and ends. A contribution's row is written after its file is durable,
and acknowledged after its row is. (job, start) is unique, so that a contribution that is sent twice counts once.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from service import aliases, events, warps
from service.agreed import GROUP_SEQUENCES, RefusedError
from service.db import family_queries, job_queries, ledger_queries, warp_queries
from service.db.models import Attempt, Contribution, Family, Job, JobSum, Json, WarpVersion
from service.states import JobState
from service.storage import Stored


class StaleEpochError(Exception):
    """A newer meta-learner of this family has begun, or the family was deleted: the one that gets this must end."""


class VersionTakenError(Exception):
    """A P was uploaded meanwhile and has the number of this draft: number it anew."""


@dataclass(frozen=True)
class JobFacts:
    """What a contribution of the job is checked against; `attempt` is the present one."""

    job_id: str
    attempt: int
    rule: str
    steps: int
    model: Json
    anchor: str | None


@dataclass(frozen=True)
class Entry:
    """A contribution whose file is durable at `path`, as it enters the ledger."""

    job_id: str
    attempt: int
    sequence: int
    start: int
    end: int
    base_version: int | None
    rule: str
    skipped: int
    sha256: str
    size: int
    path: str


@dataclass(frozen=True)
class Accepted:
    """`watermark`: the step up to which the job's contributions are acknowledged. `new`: False for an equal resend."""

    watermark: int
    new: bool


@dataclass(frozen=True)
class Ledger:
    """All that a meta-learner's memory is made of."""

    family: Family
    rows: list[Contribution]
    """Every contribution, oldest first; those whose job has ended and was folded have no `path`."""
    sums: list[JobSum]
    newest: WarpVersion | None
    """The newest version that was learned, not uploaded."""

    @property
    def rule(self) -> str | None:
        return self.rows[0].rule if self.rows else None


@dataclass(frozen=True)
class Draft:
    """A version to be. Its files are in `blobs` already: the P under `sha256`, and its eigenvalues."""

    version: int
    rule: str
    parent: int | None
    statistics_digest: str
    solved_with: Json
    jobs: list[Json]
    steps: int
    keys: list[Json]
    sha256: str
    size: int
    eigenvalues_sha256: str | None
    comparison: Json | None = None
    """What it was compared with, and whether it `won`: what `guarded` promotion asks for."""


def claim_epoch(session: Session, family_id: int, *, now: datetime) -> int:
    """Takes the family for a new meta-learner: its epoch. StaleEpochError where there is no such family."""
    family = family_queries.locked(session, family_id)
    if family is None:
        raise StaleEpochError(f"there is no family {family_id}")
    family.epoch += 1
    family.learner_seen_at = now
    session.flush()
    return family.epoch


def load(session: Session, family_id: int) -> Ledger:
    return Ledger(
        family=session.get_one(Family, family_id),
        rows=ledger_queries.of_family(session, family_id),
        sums=ledger_queries.sums(session, family_id),
        newest=warp_queries.newest_learned(session, family_id),
    )


def facts(session: Session, family_id: int, job_id: str, token: int) -> JobFacts:
    """For the living attempt that holds the token; RefusedError (`unknown_job`, `stale_token`) for any other."""
    job = check_sender(session.get(Job, job_id, populate_existing=True), family_id, token)
    return JobFacts(
        job_id=job.id,
        attempt=job.attempt,
        rule=job.spec["optimizer"]["learn"],
        steps=int(job.resolved["steps"]),
        model=job.resolved["model"],
        anchor=job.resolved.get("anchor"),
    )


def missing_rows(session: Session, job_id: str, known: set[int]) -> list[Contribution]:
    """The job's rows in the ledger whose start is not among those known."""
    return [row for row in ledger_queries.of_job(session, job_id) if row.start not in known]


def next_version(session: Session, family_id: int) -> int:
    return warp_queries.newest_number(session, family_id) + 1


def rule(session: Session, family_id: int) -> str | None:
    """The learning rule of the family, which its first contribution decides for good; None before there is one."""
    return ledger_queries.rule(session, family_id)


def watermark(session: Session, job_id: str) -> int:
    """The step from which the job's next contribution starts."""
    return ledger_queries.watermark(session, job_id)


def accept(session: Session, family_id: int, epoch: int, entry: Entry, *, token: int, now: datetime) -> Accepted:
    """Enters a contribution into the ledger; an equal one that is there already is acknowledged again.

    Within a group of workers each contribution starts where the last one ended. A group's first one may start later:
    the steps between the watermark and the checkpoint that it resumed from ended with the group before it.
    RefusedError: `unknown_job`, `stale_token`, `wrong_rule`, `overlap`, `gap`.
    """
    family = owned(session, family_id, epoch)
    job = check_sender(job_queries.locked(session, entry.job_id), family_id, token)
    learned_by = rule(session, family_id)
    if learned_by is not None and learned_by != entry.rule:
        raise RefusedError("wrong_rule", f"family {family.name} learns by {learned_by}, not by {entry.rule}")
    same = ledger_queries.at(session, entry.job_id, entry.start)
    if same is not None and (same.end, same.sha256) == (entry.end, entry.sha256):
        return Accepted(watermark(session, entry.job_id), new=False)
    _check_group(session.get(Attempt, (entry.job_id, entry.attempt), populate_existing=True), entry)
    _check_interval(ledger_queries.last(session, entry.job_id), entry)
    session.add(Contribution(family_id=family_id, created_at=now, **vars(entry)))
    family.accepted += 1
    family.learner_seen_at = now
    message = f"steps {entry.start} to {entry.end}"
    data = {"start": entry.start, "end": entry.end, "attempt": entry.attempt, "sequence": entry.sequence}
    events.add(session, job.id, "contribution.accepted", message, data, now=now)
    return Accepted(entry.end, new=True)


def refuse(session: Session, family_id: int, epoch: int, job_id: str, *, error: RefusedError, now: datetime) -> None:
    """Counts a refused contribution by its code, and tells the job's readers."""
    family = owned(session, family_id, epoch)
    family.refused = {**family.refused, error.code: family.refused.get(error.code, 0) + 1}
    family.learner_seen_at = now
    job = job_queries.locked(session, job_id)
    if job is not None and job.family_id == family_id:
        data = {"code": error.code}
        events.add(session, job_id, "contribution.refused", error.message, data, level="warning", now=now)


def check_sender(job: Job | None, family_id: int, token: int) -> Job:
    """The job, where the token is that of its living attempt; else RefusedError."""
    if job is None or job.family_id != family_id:
        raise RefusedError("unknown_job", "this family has no such job")
    if job.token != token or not JobState(job.state).has_attempt:
        raise RefusedError("stale_token", "this attempt of the job has ended, or another one has taken its place")
    return job


def publish(session: Session, family_id: int, epoch: int, draft: Draft, *, now: datetime) -> WarpVersion:
    """The draft becomes the family's next version; `latest` moves with it, and `champion` by the family's policy.

    Publishing the same draft again gives the version that it became. VersionTakenError where its number is another's.
    """
    family = owned(session, family_id, epoch)
    taken = session.get(WarpVersion, (family_id, draft.version))
    if taken is not None and (taken.epoch, taken.sha256) == (epoch, draft.sha256):
        return taken
    newest = warp_queries.newest_number(session, family_id)
    if draft.version != newest + 1:
        raise VersionTakenError(f"the next version of family {family.name} is {newest + 1}, not {draft.version}")
    family.learner_seen_at = now
    row = WarpVersion(family_id=family_id, epoch=epoch, created_at=now, **vars(draft))
    return warps.add(session, family, row, reason="learned")


def compared(
    session: Session,
    family_id: int,
    epoch: int,
    version: int,
    comparison: Json,
    *,
    champion: int | None,
    now: datetime,
) -> None:
    """Writes what a version's comparison with `champion` came to; one that won becomes the champion.

    Nothing happens where people have moved the champion, or changed the family's policy, since it was compared.
    """
    family = owned(session, family_id, epoch)
    moved = aliases.version_of(session, family_id, "champion") != champion
    if moved or family.promotion != "guarded":
        return
    session.get_one(WarpVersion, (family_id, version)).comparison = comparison
    if comparison["won"]:
        aliases.move(session, family_id, "champion", version, reason="promotion: guarded", now=now)


def foldable(session: Session, family_id: int) -> list[str]:
    """Jobs that have ended, whose contributions may be folded into one sum each."""
    return ledger_queries.foldable(session, family_id)


def fold(
    session: Session, family_id: int, epoch: int, job_id: str, total: Stored, *, steps: int, now: datetime
) -> list[str]:
    """Puts an ended job's sum, durable in its file, in the place of its contributions' files.

    The paths that no row names any more: they may be deleted once this is committed. The ledger's rows stay.
    """
    owned(session, family_id, epoch)
    rows = ledger_queries.of_job(session, job_id)
    if sum(row.end - row.start for row in rows) != steps:
        raise ValueError(f"the sum of {job_id} covers {steps} steps, its contributions another number")
    session.merge(JobSum(job_id=job_id, family_id=family_id, steps=steps, created_at=now, **vars(total)))
    paths = {row.path for row in rows if row.path is not None}
    for row in rows:
        row.path = None
    session.flush()
    return sorted(paths - ledger_queries.named_paths(session, paths))


def lineage_datasets(session: Session, job_ids: list[str]) -> dict[str, str]:
    """Job id → the dataset that it was trained on."""
    return ledger_queries.datasets(session, job_ids)


def owned(session: Session, family_id: int, epoch: int) -> Family:
    """The family, locked, where the epoch is its present one."""
    family = family_queries.locked(session, family_id)
    if family is None or family.epoch != epoch:
        raise StaleEpochError(f"epoch {epoch} of family {family_id} is over: a newer meta-learner writes")
    return family


def _check_group(attempt: Attempt | None, entry: Entry) -> None:
    """What an earlier group of the attempt still sends would count steps that the present one trains again."""
    if attempt is not None and entry.sequence // GROUP_SEQUENCES < len(attempt.groups) - 1:
        raise RefusedError("stale_token", "these workers of the attempt have ended, and others have taken their place")


def _check_interval(last: Contribution | None, entry: Entry) -> None:
    reached = 0 if last is None else last.end
    if entry.start < reached:
        raise RefusedError("overlap", f"steps from {entry.start} were counted already: continue at {reached}")
    is_first = last is None or last.attempt != entry.attempt or entry.sequence % GROUP_SEQUENCES == 0
    if not is_first and entry.start > reached:
        raise RefusedError("gap", f"steps {reached} to {entry.start} of this attempt are missing: send them first")
