"""Old versions lose their file and keep their row; what anything needs stays, whoever is killed at what moment."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest
from sqlalchemy.orm import Session

from service import aliases, blobs, collecting, families, garbage, starts, warps
from service.db import blob_queries, garbage_queries
from service.db.models import BlobPiece, Family, Job, StartContribution, StartVersion, WarpVersion
from service.db.session import Database
from service.errors import BadReference, Collected, InvalidRequest
from service.integrity import check
from service.settings import Settings
from service.states import JobState
from service.storage import Storage
from tests.families import contribution, make_job
from tests.service.kit import NOW, PROJECT, Bench, later
from tests.service.test_garbage import Fragile, Killed, put
from warpadam import warpfile
from workers.meta.learner import Learner

DAYS_S = 86_400.0


@dataclass
class Archive:
    """A family with versions of P, and of starts, each with content of its own."""

    bench: Bench
    storage: Storage
    settings: Settings
    family: Family = field(init=False)

    def __post_init__(self) -> None:
        self.family = self.bench.write(lambda session: families.ensure(session, PROJECT, "f"))

    def upload(self, count: int = 1) -> None:
        for _ in range(count):
            self.bench.write(self._upload)

    def _upload(self, session: Session) -> None:
        family = session.get_one(Family, self.family.id)
        number = len(self.numbers(session))
        matrices = {"input:4": np.eye(4, dtype=np.float32)[np.random.default_rng(number).permutation(4)]}
        warps.upload(session, family, warpfile.encode(matrices, warpfile.WarpMetadata(version=number)), NOW)

    def numbers(self, session: Session) -> list[int]:
        return [row.version for row in session.query(WarpVersion).filter_by(family_id=self.family.id)]

    def collect(self, seconds: float = 0, database: Database | None = None) -> collecting.Collected:
        return collecting.collect(database or self.bench.database, self.settings, later(seconds))

    def kept(self, kind: type[WarpVersion] | type[StartVersion] = WarpVersion) -> list[int]:
        rows = self.bench.read(lambda s: list(s.query(kind).filter_by(family_id=self.family.id, collected_at=None)))
        return sorted(row.version for row in rows)

    def start(
        self, version: int, *, anchor: str = "a" * 12, number: int = 1, parent: int = 0, warp: int | None = None
    ) -> str:
        stored = put(self.storage, "starts", f"{anchor} {version}".encode())
        row = StartVersion(
            family_id=self.family.id, version=version, anchor=anchor, identity="family", model={}, epoch=1,
            rule="reptile", step=1.0, round=number, parent=parent, jobs=[], datasets=[], warp_version=warp,
            path=stored.path, sha256=stored.sha256, size=stored.size, created_at=NOW,
        )  # fmt: skip
        self.bench.write(lambda session: session.add(row))
        return stored.path

    def offered(self, *, began: str | None, number: int | None, code: str | None = None) -> str:
        """A job's weights in a round, or undecided, or refused; their path."""
        job = self.bench.submit()
        stored = put(self.storage, "checkpoints", job.id.encode())
        row = StartContribution(
            job_id=job.id, family_id=self.family.id, anchor="a" * 12, began=0, steps=1, path=stored.path,
            sha256=stored.sha256, size=stored.size, round=number, code=code, created_at=NOW,
        )  # fmt: skip

        def add(session: Session) -> None:
            session.add(row)
            found = session.get_one(Job, job.id)
            found.base_path, found.state, found.finished_at = began, JobState.SUCCEEDED, NOW - timedelta(days=99)

        self.bench.write(add)
        return stored.path


@pytest.fixture
def archive(bench: Bench, tmp_path: Path) -> Archive:
    settings = Settings(data_dir=tmp_path, database_url=bench.database.url, warps_keep=2, starts_keep=1)
    return Archive(bench, Storage(settings.storage), settings)


def pieces(archive: Archive) -> set[str]:
    return archive.bench.read(lambda session: {row.sha256 for row in session.query(BlobPiece)})


@pytest.mark.parametrize(
    ("keep", "wanted", "gone"), [(2, set(), {1, 2, 3}), (2, {2, 5}, {1, 3}), (0, set(), set()), (9, set(), set())]
)
def test_which_go(keep: int, wanted: set[int], gone: set[int]) -> None:
    assert collecting.beyond([3, 1, 2, 5, 4], keep, wanted) == gone


def test_the_file_goes_and_the_row_stays(archive: Archive) -> None:
    archive.upload(4)
    rows = archive.bench.read(lambda s: {v: s.get_one(WarpVersion, (archive.family.id, v)) for v in (1, 4)})
    assert archive.collect().warps == 2
    assert archive.kept() == [3, 4]
    assert rows[1].sha256 not in pieces(archive)
    assert rows[4].sha256 in pieces(archive)
    found = archive.bench.read(lambda session: warps.get(session, archive.family, 1))
    assert (found.sha256, found.keys, found.collected_at) == (rows[1].sha256, rows[1].keys, NOW)
    with pytest.raises(Collected, match="version 1 of family f"):
        archive.bench.read(lambda session: warps.content(session, found))
    assert archive.collect(1).warps == 0
    assert check_blobs(archive) == []


def test_what_is_in_use_stays(archive: Archive) -> None:
    archive.upload(8)
    for name, version in (("stable", 1), ("champion", 2)):
        archive.bench.write(lambda s, n=name, v=version: aliases.set_(s, archive.family, n, v, now=NOW))  # type: ignore[misc]
    queued = archive.bench.submit(optimizer={"warp": 3})
    ended = archive.bench.submit(optimizer={"warp": 4})
    archive.bench.ask("cancel", ended.id)
    archive.collect()
    assert archive.kept() == [1, 2, 3, 4, 7, 8]
    archive.collect(31 * DAYS_S)
    assert archive.kept() == [1, 2, 3, 7, 8]
    archive.bench.ask("cancel", queued.id, later(31 * DAYS_S))
    archive.collect(32 * DAYS_S)
    assert archive.kept() == [1, 2, 3, 7, 8]


def test_the_newest_that_was_learned_stays_because_it_is_what_can_be_proved(archive: Archive) -> None:
    job = make_job(archive.bench.database, archive.family)
    learner = Learner(archive.bench.database, archive.storage, archive.settings, archive.family.id)
    learner.exchange(contribution(job, 0, 50).encode(), job.token, job.id, None, None)
    learner.finalize(job.id, job.token)
    learner.close()
    archive.upload(4)
    archive.collect()
    assert archive.kept() == [1, 4, 5]
    archive.bench.write(lambda s: setattr(s.get_one(Job, job.id), "state", "succeeded"))
    archive.bench.write(lambda s: families.delete(s, PROJECT, "f"))
    archive.collect()
    assert archive.kept() == []
    assert pieces(archive) == set()
    assert check(archive.settings).problems == []


def test_who_asks_for_one_that_went_is_told(archive: Archive) -> None:
    archive.upload(4)
    archive.collect()
    with pytest.raises(BadReference, match="take a newer version") as refused:
        archive.bench.submit(optimizer={"warp": 1})
    assert refused.value.error_code == "warp_not_found"
    with pytest.raises(InvalidRequest, match="no file any more"):
        archive.bench.write(lambda session: aliases.set_(session, archive.family, "stable", 1, now=NOW))


def test_content_that_another_version_has_too_stays_and_what_comes_again_is_whole(archive: Archive) -> None:
    archive.upload()
    first = archive.bench.read(lambda session: warps.content(session, warps.get(session, archive.family, 1)))
    archive.upload(1)
    other = archive.bench.write(lambda session: families.ensure(session, PROJECT, "other"))
    archive.bench.write(lambda session: warps.upload(session, other, first, NOW))
    archive.upload(2)
    archive.collect()
    assert archive.kept() == [3, 4]
    assert archive.bench.read(lambda session: warps.content(session, warps.get(session, other, 1))) == first
    archive.bench.write(lambda session: families.delete(session, PROJECT, "other"))
    archive.collect()
    row = archive.bench.write(lambda session: warps.upload(session, archive.family, first, NOW))
    assert archive.bench.read(lambda session: warps.content(session, row)) == first


def test_starts_and_the_weights_behind_them(archive: Archive) -> None:
    archive.upload(3)
    old, parent, newest, used = (
        archive.start(1, warp=1),
        archive.start(2, warp=2),
        archive.start(3, number=2, parent=2, warp=3),
        archive.start(4, anchor="b" * 12),
    )
    spent, refused = archive.offered(began=None, number=1), archive.offered(began=None, number=None, code="shape")
    counts, waits = archive.offered(began=parent, number=2), archive.offered(began=None, number=None)
    assert archive.collect().starts == 3
    assert archive.kept(StartVersion) == [2, 3, 4]
    grace = archive.settings.gc_grace_s + 1
    removed = garbage.collect(archive.bench.database, archive.storage, later(grace), archive.settings.gc_grace_s)
    assert removed.removed == 3
    assert not any(archive.storage.exists(path) for path in (old, spent, refused))
    assert all(archive.storage.exists(path) for path in (parent, newest, used, counts, waits))
    row = archive.bench.read(lambda session: starts.get(session, archive.family, 1))
    with pytest.raises(Collected, match="start 1 of family f"):
        starts.file(archive.family, row)


def test_starts_in_use_stay(archive: Archive) -> None:
    archive.upload(3)
    for version in (1, 2, 3, 4, 5):
        archive.start(version, warp=min(version, 3))
    archive.bench.write(lambda session: aliases.set_(session, archive.family, "stable", 2, now=NOW))
    first = archive.bench.read(lambda session: starts.get(session, archive.family, 1)).path
    job = archive.bench.submit()
    archive.bench.write(lambda session: setattr(session.get_one(Job, job.id), "base_path", first))
    archive.collect()
    assert archive.kept(StartVersion) == [1, 2, 5]  # a job's, that of stable, and the newest, which is champion's too


def test_what_a_contributor_began_with_stays_as_long_as_its_weights_count(archive: Archive) -> None:
    base = archive.storage.put("checkpoints", b"base").path
    archive.offered(began=base, number=1)
    assert archive.bench.read(lambda session: garbage_queries.named(session, [base])) == {base}
    archive.start(1, number=2)
    archive.collect()
    assert archive.bench.read(lambda session: garbage_queries.named(session, [base])) == set()


def test_killed_between_any_two_steps_nothing_is_lost_or_left(archive: Archive) -> None:
    archive.upload(6)
    for version in (1, 2, 3):
        archive.start(version)
    killed = 0
    for round_ in range(12):
        fragile = Fragile(archive.bench.database, archive.storage, left=round_)
        try:
            archive.collect(database=fragile.database)
        except Killed:
            killed += 1
        fragile.database.dispose()
        for version in archive.kept():
            archive.bench.read(lambda s, v=version: warps.content(s, warps.get(s, archive.family, v)))  # type: ignore[misc]
        assert check_blobs(archive) == []
    assert killed >= 3
    assert (archive.kept(), archive.kept(StartVersion)) == ([5, 6], [3])
    assert archive.bench.read(lambda s: blob_queries.let_go(s, with_pieces=True)) == []


def check_blobs(archive: Archive) -> list[str]:
    collected = archive.bench.read(lambda session: set(blob_queries.let_go(session)))
    every = archive.bench.read(lambda session: {row.sha256 for row in session.query(WarpVersion)})
    return [sha256 for sha256 in every - collected if not archive.bench.read(lambda s, n=sha256: blobs.read(s, n))]  # type: ignore[misc]


def test_a_job_and_retention_at_once(archive: Archive) -> None:
    """Either the job has its version's file, or it was told that there is none."""
    archive.upload(4)
    archive.bench.ready = archive.bench.dataset()
    together, told = Barrier(2), list[Exception]()

    def at_once(work: Callable[[], object]) -> None:
        together.wait(30)
        try:
            work()
        except BadReference as error:
            told.append(error)

    threads = [
        Thread(target=at_once, args=(work,))
        for work in (lambda: archive.bench.submit(optimizer={"warp": 1}), archive.collect)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (1 in archive.kept()) != bool(told)
