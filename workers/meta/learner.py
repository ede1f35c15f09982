"""A family's meta-learner without Ray: the pure core, the database and the storage that make it durable.

Order of every contribution: checked, its file durable, its row committed, added in memory, acknowledged. Memory is a
cache of the ledger: whatever is lost between two of these steps is found again there, by (job, start), and counts once.
The lock guards memory only, and is never held while something is written, read or solved.
"""

import logging
import threading
from functools import lru_cache, partial

from service import aliases, blobs, clock, learning
from service.agreed import RefusedError
from service.db.models import Family, WarpVersion
from service.db.session import Database
from service.learning import Accepted, Draft, Entry
from service.settings import Settings
from service.storage import Storage
from warpadam.learn.statistics import Contribution
from workers.meta.core import LearnerCore, Snapshot, Solved, solve
from workers.meta.judge import Judge
from workers.meta.ledger import read_contribution, read_statistics
from workers.meta.messages import Exchange
from workers.meta.publisher import Publisher
from workers.meta.starts import StartKeeper

logger = logging.getLogger(__name__)

KIND = "statistics"
"""The storage's kind of file for contributions and sums."""


class Learner:
    """Takes the family over under a new epoch, and fills its memory from the ledger.

    Any method may raise StaleEpochError: a newer meta-learner has begun, and this one must end.
    """

    def __init__(self, database: Database, storage: Storage, settings: Settings, family_id: int) -> None:
        self._database, self._storage, self._family_id = database, storage, family_id
        self._epoch = database.write(lambda session: learning.claim_epoch(session, family_id, now=clock.now()))
        with database.read() as session:
            ledger = learning.load(session, family_id)
        self._core = LearnerCore(
            read_statistics(storage, ledger.rows, ledger.sums),
            max_axis=settings.max_axis,
            max_bytes=settings.max_contribution_bytes,
            rule=ledger.rule,
        )
        self._newest = ledger.newest
        self._judge = Judge(database, family_id, self._epoch)
        self._lock = threading.Lock()
        self._used_at = clock.now()
        self._content = lru_cache(maxsize=4)(self._read_content)
        self._publisher = Publisher(
            self._snapshot,
            self._publish,
            self._tidy,
            every_s=settings.publish_every_s,
            published=_contained(ledger.newest),
            age_s=float("inf") if ledger.newest is None else _age_s(ledger.newest),
        )
        self._publisher.start()
        self._starts = StartKeeper(database, storage, family_id, self._epoch)
        self._starts.start()

    @property
    def epoch(self) -> int:
        return self._epoch

    def exchange(
        self, contribution: bytes | None, token: int, job_id: str, follow: str | None, have_version: int | None
    ) -> Exchange:
        """Takes a contribution, if there is one, and gives the P that the alias `follow` points to, if it is another.

        A contribution that does not count is answered with `refused`, not with an error; sent twice, it counts once.
        """
        self._publisher.check()
        self._used_at = clock.now()
        acknowledged, refused = None, None
        if contribution is not None:
            try:
                acknowledged = self._take(contribution, token, job_id).watermark
            except RefusedError as error:
                refused = {"code": error.code, "message": error.message}
                self._count_refusal(job_id, error)
        with self._database.read() as session:
            if acknowledged is None:
                acknowledged = learning.watermark(session, job_id)
            version = None if follow is None else aliases.version_of(session, self._family_id, follow)
        if version is None or version == have_version:
            return Exchange(acknowledged, refused)
        return Exchange(acknowledged, refused, version, self._content(version))

    def finalize(self, job_id: str, token: int) -> int | None:
        """A version that contains every acknowledged contribution of the job; it is published now if there is none.

        None where the job contributed nothing, or nothing that has axes. RefusedError for a stale token; raises what
        kept the version from being solved or written.
        """
        self._publisher.check()
        self._used_at = clock.now()
        with self._database.read() as session:
            learning.facts(session, self._family_id, job_id, token)
        self._catch_up(job_id)
        snapshot = self._snapshot()
        if job_id not in snapshot.statistics.jobs:
            return None
        self._publisher.demand(snapshot.generation)
        with self._lock:
            return None if self._newest is None else self._newest.version

    def notice_weights(self) -> None:
        """Final weights of its jobs wait to be decided about."""
        self._publisher.check()
        self._used_at = clock.now()
        self._starts.notice()

    def ping(self) -> dict[str, object]:
        """How it does: epoch, applied and pending contributions, newest version, seconds since it was last used."""
        self._publisher.check()
        with self._lock:
            applied, newest = self._core.snapshot.generation, self._newest
        return {
            "family_id": self._family_id,
            "epoch": self._epoch,
            "contributions": applied,
            "pending": applied - _contained(newest),
            "version": None if newest is None else newest.version,
            "idle_s": (clock.now() - self._used_at).total_seconds(),
        }

    def close(self) -> None:
        """Ends its threads; the ledger has everything."""
        self._starts.close()
        self._publisher.close()

    def _take(self, data: bytes, token: int, job_id: str) -> Accepted:
        with self._database.read() as session:
            job = learning.facts(session, self._family_id, job_id, token)
        contribution = self._core.check(data, job)
        stored = self._storage.put(KIND, contribution.encode())
        entry = Entry(
            job_id=job_id,
            attempt=contribution.attempt,
            sequence=contribution.sequence,
            start=contribution.start,
            end=contribution.end,
            base_version=contribution.base_version,
            rule=contribution.rule,
            skipped=contribution.skipped,
            sha256=contribution.digest,  # computed here, outside the lock
            size=stored.size,
            path=stored.path,
        )
        accepted = self._database.write(
            lambda session: learning.accept(session, self._family_id, self._epoch, entry, token=token, now=clock.now())
        )
        self._apply(contribution)
        return accepted

    def _apply(self, contribution: Contribution) -> None:
        with self._lock:
            self._core.apply(contribution)
            generation = self._core.snapshot.generation
        self._publisher.notice(generation)

    def _count_refusal(self, job_id: str, error: RefusedError) -> None:
        self._database.write(
            lambda session: learning.refuse(session, self._family_id, self._epoch, job_id, error=error, now=clock.now())
        )

    def _catch_up(self, job_id: str) -> None:
        """Adds what the ledger holds of the job and memory does not: a commit whose answer got lost."""
        with self._lock:
            known = self._core.starts(job_id)
        with self._database.read() as session:
            rows = learning.missing_rows(session, job_id, known)
        for row in rows:
            self._apply(read_contribution(self._storage, row))

    def _snapshot(self) -> Snapshot:
        with self._lock:
            return self._core.snapshot

    def _publish(self, snapshot: Snapshot) -> None:
        """In the publisher's thread. The files go first, each in pieces; the row and the aliases in one transaction."""
        solved = solve(snapshot)
        if solved is None or (self._newest is not None and self._newest.statistics_digest == solved.digest):
            return
        eigenvalues = blobs.store(self._database, solved.eigenvalues())
        while True:
            try:
                row = self._publish_as_next(solved, eigenvalues)
                break
            except learning.VersionTakenError:
                continue
        with self._lock:
            self._newest = row
        logger.info("family %s: version %s from %s jobs", self._family_id, row.version, len(row.jobs))

    def _publish_as_next(self, solved: Solved, eigenvalues: str) -> WarpVersion:
        with self._database.read() as session:
            family = session.get_one(Family, self._family_id).name
            version = learning.next_version(session, self._family_id)
            datasets = learning.lineage_datasets(session, [str(job["job"]) for job in solved.jobs])
        parent = None if self._newest is None else self._newest.version
        data = solved.warp(family, version, parent)
        draft = Draft(
            version=version,
            rule=solved.rule,
            parent=parent,
            statistics_digest=solved.digest,
            solved_with=dict(solved.solution.solved_with),
            jobs=[{**job, "dataset": datasets[str(job["job"])]} for job in solved.jobs],
            steps=solved.steps,
            keys=solved.keys,
            sha256=blobs.store(self._database, data),
            size=len(data),
            eigenvalues_sha256=eigenvalues,
        )
        return self._database.write(
            lambda session: learning.publish(session, self._family_id, self._epoch, draft, now=clock.now())
        )

    def _tidy(self) -> None:
        self.fold_ended()
        self._judge.look()

    def fold_ended(self) -> None:
        """In the publisher's thread: jobs that have ended and are wholly in the newest version become one sum each."""
        with self._database.read() as session:
            ended = learning.foldable(session, self._family_id)
        for job_id in ended:
            self._catch_up(job_id)
            total = self._snapshot().statistics.jobs[job_id]
            if self._newest is None or not _contains(self._newest, job_id, len(total.digests)):
                continue
            stored = self._storage.put(KIND, total.encode())
            fold = partial(
                learning.fold,
                family_id=self._family_id,
                epoch=self._epoch,
                job_id=job_id,
                total=stored,
                steps=total.steps,
                now=clock.now(),
            )
            unnamed = self._database.write(fold)
            for path in unnamed:
                self._storage.delete(path)

    def _read_content(self, version: int) -> bytes:
        with self._database.read() as session:
            return blobs.read(session, session.get_one(WarpVersion, (self._family_id, version)).sha256)


def _contained(version: WarpVersion | None) -> int:
    """How many contributions the version was solved from."""
    return 0 if version is None else sum(int(job["contributions"]) for job in version.jobs)


def _contains(version: WarpVersion, job_id: str, contributions: int) -> bool:
    return any(job["job"] == job_id and int(job["contributions"]) == contributions for job in version.jobs)


def _age_s(version: WarpVersion) -> float:
    return max(0.0, (clock.now() - version.created_at).total_seconds())
