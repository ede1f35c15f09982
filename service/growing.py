"""What a meta-learner may write about starts: what it decides of final weights, and the versions that follow.

Every statement is conditional on the family's epoch, as in `service.learning`. Final weights enter the ledger with
their job's success (`service.starts.offer`); they are decided once, in one order, so that rounds follow from the ledger
alone.

Rounds: contributions of an anchor fill a round until one comes whose job began from a version that this round made:
that one opens the next round, whose base is the newest version. A round makes no version before it has `ENOUGH`, the
first one `FIRST`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from service.db import ledger_queries, start_queries, warp_queries
from service.db.models import Contribution, Family, Job, JobSum, Json, StartContribution, StartVersion
from service.learning import owned
from service.storage import Stored

FIRST, ENOUGH = 3, 5
"""Contributors that the first round, and a later one, need for a version: the weights of one job are no average, and
who begins from them is worse off than from the seed. The first start comes early, later ones are worth a wait: rounds
of five go further than rounds of three, and than wide ones where there is far to go (docs/starts.md)."""


@dataclass(frozen=True)
class Seen:
    """What a job contributed to its family's P, in the ledger: rows, and the sum where their files were folded."""

    rows: list[Contribution]
    sums: list[JobSum]


@dataclass(frozen=True)
class Growth:
    """A round that has contributions which no version holds yet."""

    anchor: str
    round: int
    parent: int
    """The version that it began with; 0: the seed or the base."""
    step: float
    contributions: list[StartContribution]
    """In order of job id."""
    jobs: dict[str, Job]
    seen: dict[str, Seen]
    """By job id. A job that succeeded contributes nothing more, so this is the same whenever it is read."""


@dataclass(frozen=True)
class Draft:
    growth: Growth
    shares: list[tuple[float, float]]
    """(weight, scale) of each contribution."""
    rule: str
    stored: Stored


def waiting(session: Session, family_id: int) -> list[tuple[StartContribution, Job]]:
    """Undecided final weights, in order."""
    return start_queries.undecided(session, family_id)


def accept(session: Session, family_id: int, epoch: int, job_id: str, norm: float, *, now: datetime) -> None:
    """The weights count: they get a place in the order, and a round."""
    family = owned(session, family_id, epoch)
    row = session.get_one(StartContribution, job_id, populate_existing=True)
    if row.decided_at is not None:
        return
    row.number = start_queries.contribution_count(session, family.id) + 1
    row.round, row.norm, row.decided_at = _round_of(session, row), norm, now
    session.flush()


def refuse(
    session: Session, family_id: int, epoch: int, job_id: str, code: str, message: str, *, now: datetime
) -> None:
    """The weights do not count, and why."""
    owned(session, family_id, epoch)
    row = session.get_one(StartContribution, job_id, populate_existing=True)
    if row.decided_at is None:
        row.code, row.message, row.decided_at = code, message, now
    session.flush()


def due(session: Session, family_id: int) -> list[Growth]:
    """For each anchor the last round, where its newest version does not hold all of its contributions."""
    family = session.get_one(Family, family_id)
    found = (_growth(session, family, anchor) for anchor in start_queries.anchors_in_rounds(session, family_id))
    return [growth for growth in found if growth is not None]


def publish(session: Session, family_id: int, epoch: int, draft: Draft, *, now: datetime) -> StartVersion:
    """The next version of the family's starts, durable in its file already."""
    owned(session, family_id, epoch)
    growth = draft.growth
    first = growth.contributions[0]
    resolved = growth.jobs[first.job_id].resolved
    parent = session.get(StartVersion, (family_id, growth.parent))
    datasets = {job.dataset_id for job in growth.jobs.values()} | set(parent.datasets if parent else ())
    row = StartVersion(
        family_id=family_id,
        version=start_queries.newest_number(session, family_id) + 1,
        anchor=growth.anchor,
        identity=resolved["init_identity"],
        model=resolved["model"],
        epoch=epoch,
        rule=draft.rule,
        step=growth.step,
        round=growth.round,
        parent=growth.parent,
        jobs=[_lineage(each, growth.jobs[each.job_id], *share) for each, share in _paired(draft)],
        datasets=sorted(datasets),
        warp_version=warp_queries.newest_number(session, family_id) or None,
        path=draft.stored.path,
        sha256=draft.stored.sha256,
        size=draft.stored.size,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _growth(session: Session, family: Family, anchor: str) -> Growth | None:
    number = start_queries.last_round(session, family.id, anchor)
    rows = start_queries.of_round(session, family.id, anchor, number)
    newest = start_queries.newest(session, family.id, anchor)
    held = len(newest.jobs) if newest is not None and newest.round == number else 0
    if len(rows) == held or len(rows) < (FIRST if number == 1 else ENOUGH):
        return None
    jobs = {row.job_id: session.get_one(Job, row.job_id) for row in rows}
    begun = newest is not None and newest.round == number
    parent = 0 if newest is None else newest.parent if begun else newest.version
    return Growth(anchor, number, parent, family.start_step, rows, jobs, seen_by(session, list(jobs)))


def seen_by(session: Session, job_ids: list[str]) -> dict[str, Seen]:
    sums = {row.job_id: row for row in ledger_queries.sums_of(session, job_ids)}
    return {
        job_id: Seen(ledger_queries.of_job(session, job_id), [sums[job_id]] if job_id in sums else [])
        for job_id in job_ids
    }


def _round_of(session: Session, row: StartContribution) -> int:
    last = max(1, start_queries.last_round(session, row.family_id, row.anchor))
    began = session.get(StartVersion, (row.family_id, row.began))
    return last if began is None or began.round < last else last + 1


def _paired(draft: Draft) -> list[tuple[StartContribution, tuple[float, float]]]:
    return list(zip(draft.growth.contributions, draft.shares, strict=True))


def _lineage(row: StartContribution, job: Job, weight: float, scale: float) -> Json:
    return {
        "job": row.job_id,
        "dataset": job.dataset_id,
        "steps": row.steps,
        "began": row.began,
        "weight": weight,
        "scale": scale,
    }
