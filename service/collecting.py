"""Old versions of P and of starts, whose files nobody needs any more: the file goes, the row, lineage and digest stay.

A version keeps its file while it is one of the newest, an alias means it, a job that has not ended, or ended lately,
began with it, or what is still to be learned or proved follows from it. Of a deleted family none does.

A row is marked first, under its lock and after a new look at who needs it: who counts on a file locks the same row
(`warp_queries.counted_on`, `start_queries.newest`). The content follows by itself: pieces of blobs here, files of the
storage by `service.garbage`. So whatever is interrupted is gone on with by the next run.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from service.db import blob_queries, family_queries, garbage_queries, retention_queries, start_queries, warp_queries
from service.db.models import Family, StartContribution, StartVersion
from service.db.session import Database
from service.settings import Settings

_BLOBS = 100


@dataclass(frozen=True)
class Collected:
    """How many versions a run let go of."""

    warps: int
    starts: int


def collect(database: Database, settings: Settings, now: datetime) -> Collected:
    """One run over all families."""
    with database.read() as session:
        ids = family_queries.ids(session)
    warps = sum(_of_family(database, id_, partial(let_go_of_warps, settings=settings, now=now)) for id_ in ids)
    starts = sum(_of_family(database, id_, partial(let_go_of_starts, settings=settings, now=now)) for id_ in ids)
    sweep(database)
    return Collected(warps, starts)


def _of_family(database: Database, family_id: int, work: Callable[..., int]) -> int:
    """Looks without a lock first: most families have nothing to let go of."""
    with database.read() as session:
        if not work(session, family_id=family_id, lock=False):
            return 0
    return database.write(partial(work, family_id=family_id, lock=True))


def sweep(database: Database) -> None:
    """Removes the pieces of blobs that only collected versions name; each in a transaction of its own."""
    while True:
        with database.read() as session:
            names = blob_queries.let_go(session, _BLOBS, with_pieces=True)
        for sha256 in names:
            database.write(partial(blob_queries.drop_pieces, sha256=sha256))
        if not names:
            return


def beyond(numbers: Iterable[int], keep: int, wanted: Collection[int]) -> set[int]:
    """Those that are neither among the newest `keep` (0: all are) nor wanted."""
    ordered = sorted(numbers)
    return set(ordered[:-keep]) - set(wanted) if keep else set()


def let_go_of_warps(session: Session, family_id: int, settings: Settings, now: datetime, *, lock: bool) -> int:
    """How many of the family's versions of P nobody needs; with `lock` they are marked."""
    family = session.get_one(Family, family_id)
    rows = warp_queries.keeping(session, family_id, lock=lock)
    numbers = {row.version for row in rows}
    gone = (
        numbers if is_deleted(family) else beyond(numbers, settings.warps_keep, _wanted(session, family, settings, now))
    )
    for row in rows if lock else ():
        if row.version in gone:
            row.collected_at = now
    return len(gone)


def is_deleted(family: Family) -> bool:
    return family.name.startswith("#")


def _wanted(session: Session, family: Family, settings: Settings, now: datetime) -> set[int]:
    learned = warp_queries.newest_learned(session, family.id)
    return {
        *(alias.version for alias in session.scalars(warp_queries.aliases(family.id))),
        *retention_queries.pinned_warps(session, family.id, _lately(settings, now)),
        *(() if learned is None else (learned.version,)),  # what `db check` proves
    }


def let_go_of_starts(session: Session, family_id: int, settings: Settings, now: datetime, *, lock: bool) -> int:
    """The same for its starts, and for weights from which no start follows any more."""
    family = session.get_one(Family, family_id)
    rows = start_queries.keeping(session, family_id, lock=lock)
    offered = start_queries.contributions(session, family_id)
    if is_deleted(family):
        gone: list[StartVersion | StartContribution] = [*rows, *offered]
    else:
        gone = [*_starts_beyond(session, family, rows, offered, settings, now), *_spent(rows, offered)]
    if lock:
        for row in gone:
            row.collected_at = now
        session.flush()
        garbage_queries.condemn(session, sorted({row.path for row in gone}), now)
    return len(gone)


def _starts_beyond(
    session: Session,
    family: Family,
    rows: Sequence[StartVersion],
    offered: Sequence[StartContribution],
    settings: Settings,
    now: datetime,
) -> list[StartVersion]:
    spent = {row.job_id for row in _spent(rows, offered)}
    paths = start_queries.began_with(session, (row.job_id for row in offered if row.job_id not in spent))
    paths |= retention_queries.pinned_files(session, family.id, _lately(settings, now))
    aliases = [alias.version for alias in session.scalars(warp_queries.aliases(family.id))]
    found: list[StartVersion] = []
    for anchor in {row.anchor for row in rows}:
        of_anchor = [row for row in rows if row.anchor == anchor]
        wanted = {row.version for row in of_anchor if row.path in paths} | {of_anchor[-1].parent}
        wanted |= {paired for alias in aliases if (paired := _paired(of_anchor, alias)) is not None}
        gone = beyond((row.version for row in of_anchor), settings.starts_keep, wanted)
        found += [row for row in of_anchor if row.version in gone]
    return found


def _paired(of_anchor: Sequence[StartVersion], warp_version: int) -> int | None:
    """The start that is in use beside a version of P (`service.inits`)."""
    known = [row.version for row in of_anchor if row.warp_version is None or row.warp_version <= warp_version]
    return max(known, default=None)


def _spent(rows: Sequence[StartVersion], offered: Sequence[StartContribution]) -> list[StartContribution]:
    """Weights that were refused, or belong to a round before the one of the newest start."""
    rounds: dict[str, int] = {}
    for row in rows:
        rounds[row.anchor] = row.round  # in order of version: the newest last
    return [
        each
        for each in offered
        if each.code is not None or (each.round is not None and each.round < rounds.get(each.anchor, 0))
    ]


def _lately(settings: Settings, now: datetime) -> datetime:
    return now - timedelta(days=settings.keep_pinned_days)
