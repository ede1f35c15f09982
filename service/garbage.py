"""Files of the storage that nothing names: found, condemned, and removed a while later.

Invariants: a file is removed only where nothing named it when it was condemned, nor a whole grace later, and it was not
put again meanwhile. The grace is longer than any download and than the time between an upload and its row. Whoever is
killed between any two steps leaves what the next run finds: a file without a row, or a condemned row without a file.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice

from service.db import garbage_queries
from service.db.session import Database
from service.storage import Storage

KINDS = ("datasets", "checkpoints", "statistics", "starts")
"""What is looked through; files of other kinds are nobody's business here."""
_BATCH = 200


@dataclass(frozen=True)
class Collected:
    """What a run did."""

    condemned: int
    removed: int
    aside: int
    """Unfinished uploads of processes that were killed."""


def collect(database: Database, storage: Storage, now: datetime, grace_s: float) -> Collected:
    """One run: removes what was condemned a grace ago, and condemns what nothing names and is older than that."""
    before = now - timedelta(seconds=grace_s)
    removed = sweep(database, storage, before)
    return Collected(find(database, storage, now, before), removed, storage.remove_aside(before))


def sweep(database: Database, storage: Storage, before: datetime) -> int:
    """Removes the files that were condemned before that time and that nothing names now. How many."""
    removed = 0
    while True:
        with database.read() as session:
            paths = garbage_queries.due(session, before, _BATCH)
            unnamed = set(paths) - garbage_queries.named(session, paths)
        if not paths:
            return removed
        for path in sorted(unnamed):
            removed += storage.delete_older(path, before)
        database.write(partial(garbage_queries.forget, paths=paths))


def find(database: Database, storage: Storage, now: datetime, before: datetime) -> int:
    """Condemns files that nothing names and that were there before that time. How many."""
    count = 0
    for kind in KINDS:
        for paths in _batches(storage.paths(kind)):
            with database.read() as session:
                known = garbage_queries.named(session, paths) | garbage_queries.condemned(session, paths)
            orphans = [path for path in paths if path not in known and storage.is_older(path, before)]
            if orphans:
                count += len(orphans)
                database.write(partial(garbage_queries.condemn, paths=orphans, now=now))
    return count


def _batches(paths: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(paths)
    while batch := list(islice(rest, _BATCH)):
        yield batch
