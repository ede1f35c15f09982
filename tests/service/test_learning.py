"""The ledger and the versions, as the database keeps them: every write under the epoch, every contribution once."""

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from service import aliases, blobs, clock, events, families, learning
from service.agreed import GROUP_SEQUENCES, RefusedError
from service.db.models import Attempt, Contribution, Family, JobSum
from service.db.session import Database
from service.learning import Accepted, Draft, Entry, StaleEpochError, VersionTakenError
from service.pages import PageRequest
from service.states import JobState
from service.storage import Stored
from tests.families import Running, change_job, make_family, make_job
from tests.service.test_warps import make_warp, upload


@pytest.fixture
def family(database: Database) -> Family:
    return make_family(database)


@pytest.fixture
def job(database: Database, family: Family) -> Running:
    return make_job(database, family)


@pytest.fixture
def epoch(database: Database, family: Family) -> int:
    return claim(database, family)


def claim(database: Database, family: Family) -> int:
    return database.write(lambda session: learning.claim_epoch(session, family.id, now=clock.now()))


def entry(job: Running, start: int, end: int, **fields: int | str) -> Entry:
    sha256 = hashlib.sha256(f"{job.id} {start} {end}".encode()).hexdigest()
    values: dict[str, object] = {
        "job_id": job.id,
        "attempt": 1,
        "sequence": start,
        "start": start,
        "end": end,
        "base_version": None,
        "rule": "covariance",
        "skipped": 0,
        "sha256": sha256,
        "size": 100,
        "path": f"statistics/{sha256[:2]}/{sha256}",
    }
    return Entry(**{**values, **fields})  # type: ignore[arg-type]


def accept(database: Database, family: Family, epoch: int, one: Entry, token: int = 1) -> Accepted:
    return database.write(lambda session: learning.accept(session, family.id, epoch, one, token=token, now=clock.now()))


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        call()
    return caught.value.code


def test_contributions_move_the_watermark_and_are_told(
    database: Database, family: Family, job: Running, epoch: int
) -> None:
    assert accept(database, family, epoch, entry(job, 0, 50)) == Accepted(50, new=True)
    assert accept(database, family, epoch, entry(job, 50, 80)) == Accepted(80, new=True)
    with database.read() as session:
        assert learning.watermark(session, job.id) == 80
        told = events.list_(session, job.id, PageRequest()).items
        status = families.status(session, session.get_one(Family, family.id))
    assert [(one.type, one.data["start"], one.data["end"]) for one in told] == [
        ("contribution.accepted", 0, 50),
        ("contribution.accepted", 50, 80),
    ]
    assert (status.accepted, status.pending, status.epoch) == (2, 2, epoch)


def test_an_equal_resend_is_acknowledged_again_and_counts_once(
    database: Database, family: Family, job: Running, epoch: int
) -> None:
    accept(database, family, epoch, entry(job, 0, 50))
    accept(database, family, epoch, entry(job, 50, 80))
    assert accept(database, family, epoch, entry(job, 0, 50)) == Accepted(80, new=False)
    with database.read() as session:
        assert len(list(session.scalars(select(Contribution)))) == 2
        assert session.get_one(Family, family.id).accepted == 2


@pytest.mark.parametrize(
    ("start", "end", "sha256", "code"),
    [(0, 50, "other", "overlap"), (0, 60, None, "overlap"), (40, 60, None, "overlap"), (51, 60, None, "gap")],
)
def test_overlap_and_gap_are_refused(
    database: Database, family: Family, job: Running, epoch: int, start: int, end: int, sha256: str | None, code: str
) -> None:
    accept(database, family, epoch, entry(job, 0, 50))
    one = entry(job, start, end)
    one = replace(one, sha256=sha256) if sha256 else one
    assert refusal(lambda: accept(database, family, epoch, one)) == code


def test_an_attempt_that_resumes_may_begin_after_the_watermark_but_not_before(
    database: Database, family: Family, job: Running, epoch: int
) -> None:
    accept(database, family, epoch, entry(job, 0, 50))
    change_job(database, job.id, token=2, attempt=2)
    resumed = entry(job, 100, 150, attempt=2)
    assert refusal(lambda: accept(database, family, epoch, entry(job, 40, 90, attempt=2), token=2)) == "overlap"
    assert accept(database, family, epoch, resumed, token=2).watermark == 150
    assert refusal(lambda: accept(database, family, epoch, entry(job, 50, 100, attempt=2), token=2)) == "overlap"


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RECOVERING, JobState.SUCCEEDED, JobState.CANCELLED])
def test_a_job_without_a_living_attempt_contributes_nothing(
    database: Database, family: Family, job: Running, epoch: int, state: JobState
) -> None:
    change_job(database, job.id, state=state)
    assert refusal(lambda: accept(database, family, epoch, entry(job, 0, 50))) == "stale_token"


def test_an_old_token_and_a_strange_job_are_refused(
    database: Database, family: Family, job: Running, epoch: int
) -> None:
    change_job(database, job.id, token=2, attempt=2)
    assert refusal(lambda: accept(database, family, epoch, entry(job, 0, 50))) == "stale_token"
    foreign = make_job(database, make_family(database, "others"))
    for one in (foreign, Running("job_0")):
        assert refusal(lambda one=one: accept(database, family, epoch, entry(one, 0, 50))) == "unknown_job"
        with database.read() as session:
            assert refusal(lambda one=one: learning.facts(session, family.id, one.id, 1)) == "unknown_job"


def test_refusals_are_counted_by_code_and_told(database: Database, family: Family, job: Running, epoch: int) -> None:
    for code in ("overlap", "not_psd", "overlap"):
        error = RefusedError(code, "because")
        database.write(
            lambda session, error=error: learning.refuse(
                session, family.id, epoch, job.id, error=error, now=clock.now()
            )
        )
    with database.read() as session:
        status = families.status(session, session.get_one(Family, family.id))
        told = events.list_(session, job.id, PageRequest()).items
    assert status.refused == {"not_psd": 1, "overlap": 2}
    assert {(one.type, one.level, one.message) for one in told} == {("contribution.refused", "warning", "because")}


def draft(database: Database, version: int, **fields: object) -> Draft:
    data = make_warp(version)
    values: dict[str, object] = {
        "version": version,
        "rule": "covariance",
        "parent": version - 1 or None,
        "statistics_digest": "0" * 64,
        "solved_with": {"threads": "1"},
        "jobs": [{"job": "job_1", "dataset": "ds_1", "steps": 50, "contributions": 1}],
        "steps": 50,
        "keys": [{"key": "input:6", "size": 6}],
        "sha256": blobs.store(database, data),
        "size": len(data),
        "eigenvalues_sha256": None,
    }
    return Draft(**{**values, **fields})  # type: ignore[arg-type]


def publish(database: Database, family: Family, epoch: int, one: Draft) -> int:
    return database.write(lambda session: learning.publish(session, family.id, epoch, one, now=clock.now())).version


@pytest.mark.parametrize(
    ("promotion", "comparison", "champion"),
    [("latest", None, 2), ("guarded", None, None), ("guarded", {"won": True}, 2), ("manual", {"won": True}, None)],
)
def test_publishing_moves_latest_and_by_policy_the_champion(
    database: Database, promotion: str, comparison: dict[str, bool] | None, champion: int | None
) -> None:
    family = make_family(database, promotion=promotion)
    epoch = claim(database, family)
    publish(database, family, epoch, draft(database, 1))
    publish(database, family, epoch, replace(draft(database, 2), comparison=comparison))
    with database.read() as session:
        status = families.status(session, family)
        moves = aliases.history(session, family, "latest", PageRequest()).items
    assert (status.latest, status.champion) == (2, champion)
    assert [(one.version, one.previous, one.reason) for one in moves] == [(2, 1, "learned"), (1, None, "learned")]


def test_a_version_and_its_aliases_are_one_transaction(
    database: Database, family: Family, epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = draft(database, 1)

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(aliases, "move", fail)
        with pytest.raises(OSError, match="gone"):
            publish(database, family, epoch, one)
    with database.read() as session:
        assert learning.next_version(session, family.id) == 1
        assert aliases.list_(session, family, PageRequest()).items == []


def test_publishing_again_gives_the_same_version(database: Database, family: Family, epoch: int) -> None:
    one = draft(database, 1)
    assert publish(database, family, epoch, one) == publish(database, family, epoch, one) == 1
    with database.read() as session:
        assert learning.next_version(session, family.id) == 2


def test_a_number_that_an_upload_took_is_not_written_over(database: Database, family: Family, epoch: int) -> None:
    one = draft(database, 1)
    upload(database, family, make_warp(7))
    with pytest.raises(VersionTakenError, match="is 2"):
        publish(database, family, epoch, one)


def test_of_two_epochs_only_the_newer_writes(database: Database, family: Family, job: Running, epoch: int) -> None:
    newer = claim(database, family)
    assert newer == epoch + 1

    def fold(session: object, now: datetime) -> object:
        return learning.fold(session, family.id, epoch, job.id, Stored("", "", 0), steps=0, now=now)  # type: ignore[arg-type]

    error = RefusedError("overlap", "because")
    writes = [
        lambda session, now: learning.accept(session, family.id, epoch, entry(job, 0, 50), token=1, now=now),
        lambda session, now: learning.refuse(session, family.id, epoch, job.id, error=error, now=now),
        lambda session, now: learning.publish(session, family.id, epoch, draft_1, now=now),
        fold,
    ]
    draft_1 = draft(database, 1)
    for write in writes:
        with pytest.raises(StaleEpochError):
            database.write(lambda session, write=write: write(session, clock.now()))
    with database.read() as session:
        ledger = learning.load(session, family.id)
    assert (ledger.rows, ledger.sums, ledger.newest) == ([], [], None)
    assert (ledger.family.accepted, ledger.family.refused) == (0, {})
    assert accept(database, family, newer, entry(job, 0, 50)).new


def test_folding_keeps_the_rows_and_names_what_may_be_deleted(
    database: Database, family: Family, job: Running, epoch: int
) -> None:
    entries = [entry(job, 0, 50), entry(job, 50, 80)]
    for one in entries:
        accept(database, family, epoch, one)
    with database.read() as session:
        assert learning.foldable(session, family.id) == []
    change_job(database, job.id, state=JobState.SUCCEEDED)
    with database.read() as session:
        assert learning.foldable(session, family.id) == [job.id]
    total = Stored("statistics/aa/bb", "bb", 5)

    def fold(steps: int) -> list[str]:
        return database.write(
            lambda session: learning.fold(session, family.id, epoch, job.id, total, steps=steps, now=clock.now())
        )

    with pytest.raises(ValueError, match="79 steps"):
        fold(79)
    assert fold(80) == sorted(one.path for one in entries)
    with database.read() as session:
        ledger = learning.load(session, family.id)
        assert learning.foldable(session, family.id) == []
        assert session.get_one(JobSum, job.id).path == total.path
    assert [(row.start, row.end, row.sha256, row.path) for row in ledger.rows] == [
        (one.start, one.end, one.sha256, None) for one in entries
    ]


def test_an_epoch_of_no_family_is_stale(database: Database) -> None:
    with pytest.raises(StaleEpochError):
        database.write(lambda session: learning.claim_epoch(session, 99, now=clock.now()))


def test_its_errors_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(RefusedError("overlap", "because")))
    assert (error.code, error.message) == ("overlap", "because")


def test_workers_that_were_replaced_count_nothing_any_more_and_the_next_go_on_from_the_watermark(
    database: Database, family: Family, job: Running, epoch: int
) -> None:
    """A group's contributions are numbered from its own start on; its first one may leave a gap, no other."""
    first, second = 0, GROUP_SEQUENCES
    begin_groups(database, job, 1)
    accept(database, family, epoch, entry(job, 0, 50, sequence=first))
    begin_groups(database, job, 2)
    late = entry(job, 50, 100, sequence=first + 1)
    assert refusal(lambda: accept(database, family, epoch, late)) == "stale_token"
    assert accept(database, family, epoch, entry(job, 0, 50, sequence=first)) == Accepted(50, new=False)
    assert accept(database, family, epoch, entry(job, 60, 100, sequence=second)).watermark == 100
    assert refusal(lambda: accept(database, family, epoch, entry(job, 110, 120, sequence=second + 1))) == "gap"
    assert refusal(lambda: accept(database, family, epoch, entry(job, 90, 120, sequence=second + 1))) == "overlap"


def begin_groups(database: Database, job: Running, count: int) -> None:
    def write(session: Session) -> None:
        row = Attempt(job_id=job.id, number=1, token=1, submission_id=f"{job.id}-1", launcher="process")
        row.created_at, row.groups = clock.now(), [{"step": 0, "workers": 1}] * count
        session.merge(row)

    database.write(write)
