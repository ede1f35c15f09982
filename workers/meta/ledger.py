"""From the ledger and its files to statistics, and the proof that a family's newest P is what they say."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service import blobs, learning
from service.db.models import Contribution as LedgerRow
from service.db.models import JobSum as JobSumRow
from service.db.models import WarpVersion
from service.storage import Storage
from warpadam import warpfile
from warpadam.learn.packed import ContributionError
from warpadam.learn.rule import RULES
from warpadam.learn.statistics import Contribution, JobSum, Statistics, digest_of
from workers.meta.core import Snapshot, rebuild, solve

LOOKS = 5
"""A service at work changes what is checked; so often it is looked at again."""


class DamagedLedgerError(Exception):
    """A file that the ledger names is not what it says. Restore the storage from a backup; nothing is guessed."""


@dataclass(frozen=True)
class Verification:
    """`digest` is that of the whole ledger; `problems` is empty where everything agrees."""

    digest: str
    version: int | None
    pending: int
    """Contributions that the newest learned version does not contain yet."""
    problems: list[str]


def read_contribution(storage: Storage, row: LedgerRow) -> Contribution:
    """The contribution of a row that was not folded, checked against the row."""
    assert row.path is not None, "folded contributions are in their job's sum"
    try:
        found = Contribution.decode(storage.get(row.path))
    except (ContributionError, OSError) as error:
        raise DamagedLedgerError(f"contribution {row.start} to {row.end} of {row.job_id}: {error}") from error
    if (found.job, found.start, found.end, found.digest) != (row.job_id, row.start, row.end, row.sha256):
        raise DamagedLedgerError(f"{row.path} is not the contribution {row.start} to {row.end} of {row.job_id}")
    return found


def read_statistics(storage: Storage, rows: Iterable[LedgerRow], sums: Iterable[JobSumRow]) -> Statistics:
    """The statistics of the ledger: its files and the folded sums of ended jobs. DamagedLedgerError if they differ."""
    rows = list(rows)
    folded = {row.job_id: _read_sum(storage, row) for row in sums}
    statistics = rebuild((read_contribution(storage, row) for row in rows if row.path is not None), folded)
    if statistics.digest() != ledger_digest(rows):
        raise DamagedLedgerError("the files of the contributions are not those that the ledger names")
    return statistics


def ledger_digest(rows: Iterable[LedgerRow]) -> str:
    """The digest of the statistics that hold these contributions, from the rows alone."""
    return digest_of((row.job_id, row.start, row.end, row.sha256) for row in rows)


def verify_ledger(session: Session, storage: Storage, family_id: int) -> Verification:
    """Computes the statistics and their digest from the ledger again, and compares the newest learned version.

    Its digest must be that of the contributions which its lineage names, and its P must be what its rule makes of them;
    on the machine and with the libraries that it was solved with, its bytes must come out again.
    Files that go while they are read were folded meanwhile, by a meta-learner at work: then it looks again.
    """
    for _ in range(LOOKS):
        before = learning.load(session, family_id)
        found = _verify(session, storage, before)
        if not found.problems:
            break
        named = _named(before)
        session.rollback()  # ends the view of this moment, so that the next look sees the next one
        if _named(learning.load(session, family_id)) == named:
            break
    return found


def _named(ledger: learning.Ledger) -> frozenset[str]:
    rows = (row.path for row in ledger.rows if row.path is not None)
    return frozenset((*rows, *(row.path for row in ledger.sums)))


def _verify(session: Session, storage: Storage, ledger: learning.Ledger) -> Verification:
    digest, newest = ledger_digest(ledger.rows), ledger.newest
    if newest is None:
        contained: list[LedgerRow] = []
    else:
        contained = _contained(ledger.rows, newest)
    pending = len(ledger.rows) - len(contained)
    version = None if newest is None else newest.version
    try:
        read_statistics(storage, ledger.rows, ledger.sums)
        problems = [] if newest is None else _compare(session, storage, ledger, newest, contained)
    except DamagedLedgerError as error:
        problems = [str(error)]
    return Verification(digest, version, pending, problems)


def _compare(
    session: Session, storage: Storage, ledger: learning.Ledger, newest: WarpVersion, contained: list[LedgerRow]
) -> list[str]:
    if newest.statistics_digest != ledger_digest(contained):
        return [f"version {newest.version}: its statistics digest is not that of its contributions in the ledger"]
    if newest.collected_at is not None:
        return []  # of a deleted family: its file is gone, and with it what could be compared
    data = blobs.read(session, newest.sha256)
    statistics = read_statistics(storage, contained, ledger.sums)
    if newest.rule not in RULES:
        return [f"version {newest.version}: this program knows no rule {newest.rule}: check it with the newer one"]
    matrices, _ = warpfile.decode(data)
    problems = [f"version {newest.version}: {line}" for line in RULES[newest.rule].verify(matrices, statistics)]
    solved = solve(Snapshot(statistics, len(contained), newest.rule))
    if solved is not None and solved.solution.solved_with == newest.solved_with:
        again = solved.warp(ledger.family.name, newest.version, newest.parent)
        if again != data:
            problems.append(f"version {newest.version}: solved again on the same record, it has other bytes")
    return problems


def _contained(rows: list[LedgerRow], version: WarpVersion) -> list[LedgerRow]:
    """The rows that the version's lineage names: of each job the first so many, in order of start."""
    left = {str(job["job"]): int(job["contributions"]) for job in version.jobs}
    found = []
    for row in sorted(rows, key=lambda row: (row.job_id, row.start)):
        if left.get(row.job_id, 0) > 0:
            left[row.job_id] -= 1
            found.append(row)
    return found


def _read_sum(storage: Storage, row: JobSumRow) -> JobSum:
    try:
        found = JobSum.decode(storage.get(row.path))
    except (ContributionError, OSError) as error:
        raise DamagedLedgerError(f"the sum of {row.job_id}: {error}") from error
    if found.steps != row.steps:
        raise DamagedLedgerError(f"the sum of {row.job_id} covers {found.steps} steps, not {row.steps}")
    return found
