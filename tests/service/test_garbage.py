"""Files that nothing names go, those that anything names stay, and being killed between two steps changes neither."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service import attempts, clock, garbage, jobs, retention
from service.db import garbage_queries
from service.db.models import Base, Checkpoint, CondemnedFile, Dataset, Event, Job, LogChunk, MetricPoint
from service.db.session import Database
from service.ids import new_id
from service.metrics import Point
from service.settings import Settings
from service.storage import Storage, Stored
from tests.service.kit import NOW, PROJECT, Bench, later

GRACE_S = 100.0


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "storage"))


def put(storage: Storage, kind: str, data: bytes, *, old: bool = True) -> Stored:
    """`old`: put long before the tests' present."""
    stored = storage.put(kind, data)
    at = (NOW - timedelta(days=2 if old else 0)).timestamp()
    os.utime(f"{storage._root}/{stored.path}", (at, at))
    return stored


def collect(bench: Bench, storage: Storage, seconds: float = 0) -> garbage.Collected:
    return garbage.collect(bench.database, storage, later(seconds), GRACE_S)


def publish(bench: Bench, storage: Storage, fence: attempts.Fence, step: int, *, best: bool = False) -> tuple[str, str]:
    model, state = (
        put(storage, "checkpoints", f"{what} {fence.job_id} {step}".encode()) for what in ("model", "state")
    )
    bench.write(
        lambda session: attempts.publish_checkpoint(
            session, fence, step=step, stored=model, state=state, val_loss=None, is_best=best, model=None, now=NOW
        )
    )
    return model.path, state.path


def test_every_column_that_names_a_file_is_known() -> None:
    known = {str(column).split(".", 1)[1] + "@" + column.class_.__tablename__ for column in garbage_queries.NAMING}
    found = {
        f"{column.name}@{table.name}"
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.name in ("path", "uri") or column.name.endswith("_path")
    }
    not_of_the_storage = {"path@condemned_files", "path@idempotency_keys"}
    assert found - not_of_the_storage == known, "add it to service.db.garbage_queries, or its files would be removed"


def test_an_orphan_goes_after_a_grace_and_what_is_named_stays(bench: Bench, storage: Storage) -> None:
    fence = bench.running()
    kept = publish(bench, storage, fence, 5)
    orphan, young = put(storage, "statistics", b"refused"), put(storage, "datasets", b"just now", old=False)
    assert collect(bench, storage) == garbage.Collected(condemned=1, removed=0, aside=0)
    assert collect(bench, storage, GRACE_S - 1).removed == 0
    assert collect(bench, storage, GRACE_S).removed == 1
    assert not storage.exists(orphan.path)
    assert all(storage.exists(path) for path in (*kept, young.path))


def test_what_is_put_again_stays(bench: Bench, storage: Storage) -> None:
    orphan = put(storage, "checkpoints", b"again")
    collect(bench, storage)
    storage.put("checkpoints", b"again")
    assert collect(bench, storage, GRACE_S).removed == 0
    assert storage.exists(orphan.path)


def test_what_is_named_again_stays(bench: Bench, storage: Storage) -> None:
    stored = put(storage, "checkpoints", b"base")
    collect(bench, storage)
    job = bench.submit()
    bench.write(lambda session: setattr(session.get_one(Job, job.id), "base_path", stored.path))
    assert collect(bench, storage, GRACE_S).removed == 0
    bench.ask("cancel", job.id)
    collect(bench, storage, 2 * GRACE_S)
    assert collect(bench, storage, 3 * GRACE_S).removed == 1


def test_a_deleted_datasets_file_goes(bench: Bench, storage: Storage) -> None:
    stored = put(storage, "datasets", b"data")
    row = Dataset(id=new_id("ds"), project=PROJECT, state="ready", options={}, created_at=NOW, uploaded=True)
    row.uri, row.sha256 = stored.path, stored.sha256
    bench.write(lambda session: session.add(row))
    assert collect(bench, storage).condemned == 0
    bench.write(lambda session: setattr(session.get_one(Dataset, row.id), "deleted_at", NOW))
    assert collect(bench, storage).condemned == 1
    assert collect(bench, storage, GRACE_S).removed == 1


def test_unfinished_uploads_of_the_killed_go(bench: Bench, storage: Storage, tmp_path: Path) -> None:
    put(storage, "checkpoints", b"x", old=False)
    left = tmp_path / "storage" / "aside" / "0123"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    (left.parent / "under way").write_bytes(b"half")
    os.utime(left.parent / "under way", (NOW.timestamp(), NOW.timestamp()))
    assert collect(bench, storage).aside == 1
    assert [path.name for path in left.parent.iterdir()] == ["under way"]


def rows(*steps: int, best: int, last: int, states: bool = True) -> list[Checkpoint]:
    return [
        Checkpoint(
            id=str(s), step=s, is_best=s == best, is_last=s == last, path="p", state_path="s" if states else None
        )
        for s in steps
    ]


@pytest.mark.parametrize(
    ("ended", "every", "gone", "without_state"),
    [
        (True, 1, [], [1, 2, 3, 4, 5, 6]),
        (True, 0, [1, 3, 4, 5], [2, 6]),
        (True, 3, [1, 4, 5], [2, 3, 6]),
        (False, 0, [1, 3, 4], [2]),
    ],
)
def test_best_last_and_every_nth_stay(ended: bool, every: int, gone: list[int], without_state: list[int]) -> None:
    verdict = retention.judge(rows(1, 2, 3, 4, 5, 6, best=2, last=6), ended=ended, deleted=False, every=every)
    assert [row.step for row in verdict.gone] == gone
    assert [row.step for row in verdict.without_state] == without_state


def test_a_deleted_job_keeps_none() -> None:
    assert len(retention.judge(rows(1, 2, best=1, last=2), ended=True, deleted=True, every=1).gone) == 2


class Killed(BaseException):
    """As SIGKILL: nothing below catches it."""


class Fragile:
    """A database and a storage that die before the n-th thing that they are asked to change."""

    def __init__(self, database: Database, storage: Storage, left: int) -> None:
        self._left = left
        write, delete = database.write, storage.delete_older
        self.database, self.storage = Database(database.url), Storage(storage.url)
        self.database.write = self._before(write)  # type: ignore[method-assign]
        self.storage.delete_older = self._before(delete)  # type: ignore[method-assign]

    def _before(self, work: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            if self._left == 0:
                raise Killed
            self._left -= 1
            return work(*arguments)

        return wrapped


@pytest.fixture
def ended(bench: Bench, storage: Storage) -> tuple[set[str], set[str]]:
    """A job that has ended, with what must stay of it and what must go."""
    fence = bench.running(training={"checkpoint_every": 1})
    made = [publish(bench, storage, fence, step, best=step == 2) for step in (1, 2, 3)]
    bench.finish(fence, "succeeded")
    orphan = put(storage, "statistics", b"orphan").path
    stay = {made[1][0], made[2][0]}
    return stay, {path for pair in made for path in pair} - stay | {orphan}


def test_killed_between_any_two_steps_nothing_is_lost_or_left(
    bench: Bench, storage: Storage, ended: tuple[set[str], set[str]], tmp_path: Path
) -> None:
    stay, go = ended
    settings = Settings(data_dir=tmp_path, checkpoints_keep_every=0)
    killed = 0
    for round_ in range(20):
        fragile = Fragile(bench.database, storage, left=round_)
        now = later(round_ * (GRACE_S + 1))
        try:
            retention.keep_checkpoints(fragile.database, settings, now)
            garbage.collect(fragile.database, fragile.storage, now, GRACE_S)
        except Killed:
            killed += 1
        fragile.database.dispose()
        assert all(storage.exists(path) for path in stay)
        named = bench.read(lambda session: garbage_queries.named(session, stay | go))
        assert all(storage.exists(path) for path in named), "a row names a file that is gone"
    assert killed >= 4
    assert not [path for path in go if storage.exists(path)]
    assert bench.read(lambda session: session.query(CondemnedFile).count()) == 0


def test_records_go_with_their_time_and_with_their_job(bench: Bench, tmp_path: Path) -> None:
    old, deleted, running = bench.running(), bench.running(), bench.running()
    for fence in (old, deleted, running):
        bench.write(lambda session, fence=fence: attempts.add_metrics(session, fence, [Point("lr", 1, 0.5, NOW)]))  # type: ignore[misc]
        bench.write(lambda session, fence=fence: attempts.add_log(session, fence, 0, b"hello\n", most=100))  # type: ignore[misc]
    bench.finish(old, "succeeded", now=clock.now() - timedelta(days=40))
    bench.finish(deleted, "succeeded", now=clock.now())
    bench.write(lambda session: jobs.delete(session, PROJECT, deleted.job_id, NOW))
    retention.keep_records(bench.database, Settings(data_dir=tmp_path), clock.now())

    def left(table: Any) -> list[str]:
        return bench.read(lambda session: sorted({row.job_id for row in session.query(table)}))

    assert left(LogChunk) == [running.job_id]
    assert left(MetricPoint) == sorted([old.job_id, running.job_id])
    assert [event.type for event in bench.events(deleted.job_id)] == ["end"]
    assert len(bench.events(old.job_id)) > 1
    assert left(Event) == sorted([old.job_id, deleted.job_id, running.job_id])
