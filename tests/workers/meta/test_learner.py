"""The meta-learner on real databases: durable before acknowledged, counted once, and nobody waits for a solve."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import aliases, blobs, clock, families, learning, warps
from service.agreed import RefusedError
from service.db.models import Family, WarpVersion
from service.db.session import Database
from service.learning import StaleEpochError
from service.states import JobState
from service.storage import Storage
from tests.families import Running, change_job, contribution, make_job
from tests.service.test_warps import make_warp, upload
from tests.workers.meta.conftest import StartLearner
from warpadam.learn.statistics import Contribution
from workers.meta import learner as learner_module
from workers.meta.learner import Learner
from workers.meta.ledger import DamagedLedgerError, Verification, verify_ledger
from workers.meta.messages import Exchange


@pytest.fixture
def job(database: Database, family: Family) -> Running:
    return make_job(database, family)


def send(
    learner: Learner, job: Running, sent: Contribution | None, follow: str | None = None, have: int | None = None
) -> Exchange:
    return learner.exchange(None if sent is None else sent.encode(), job.token, job.id, follow, have)


def verify(database: Database, storage: Storage, family: Family) -> Verification:
    with database.read() as session:
        return verify_ledger(session, storage, family.id)


def newest(database: Database, family: Family) -> WarpVersion:
    with database.read() as session:
        found = learning.load(session, family.id).newest
    assert found is not None
    return found


def test_what_is_acknowledged_is_in_the_next_version(
    database: Database, storage: Storage, family: Family, learner: Learner, job: Running
) -> None:
    assert send(learner, job, None) == Exchange(0)
    assert send(learner, job, contribution(job, 0, 50)) == Exchange(50)
    assert send(learner, job, contribution(job, 50, 80, sequence=1)) == Exchange(80)
    version = learner.finalize(job.id, job.token)
    row = newest(database, family)
    assert row.version == version
    assert [(one["job"], one["steps"], one["contributions"]) for one in row.jobs] == [(job.id, 80, 2)]
    assert row.jobs[0]["dataset"].startswith("ds_")
    assert verify(database, storage, family) == Verification(row.statistics_digest, version, 0, [])
    with database.read() as session:
        assert blobs.size(session, row.eigenvalues_sha256) > 0
        status = families.status(session, families.get(session, "default", family.name))
    assert (status.latest, status.champion, status.accepted, status.pending) == (version, version, 2, 0)


@pytest.mark.parametrize("publish_every_s", [0.0, 3600.0])
def test_a_restart_between_contributions_loses_and_doubles_nothing(
    database: Database, storage: Storage, family: Family, start_learner: StartLearner, publish_every_s: float
) -> None:
    jobs = [make_job(database, family) for _ in range(2)]
    everything = [contribution(job, start, start + 20) for start in (0, 20, 40) for job in jobs]
    unkilled = learner_module.LearnerCore(max_axis=512, max_bytes=2**24)
    for index, sent in enumerate(everything):
        learner = start_learner(publish_every_s=publish_every_s)
        unkilled.apply(sent)
        send(learner, jobs[index % 2], sent)
        if index:
            again = everything[index - 1]  # as Ray sends a call again whose answer was lost with the actor
            assert send(learner, jobs[(index - 1) % 2], again).refused is None
    learner.finalize(jobs[0].id, 1)
    row = newest(database, family)
    assert row.statistics_digest == unkilled.snapshot.statistics.digest()
    assert verify(database, storage, family).problems == []
    with database.read() as session:
        solved = learner_module.solve(unkilled.snapshot)
        assert warps.content(session, row) == solved.warp(family.name, row.version, row.parent)


def test_nothing_is_acknowledged_that_is_not_durable(
    database: Database, storage: Storage, learner: Learner, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = contribution(job, 0, 50)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "put", _fails)
        with pytest.raises(OSError, match="power"):
            send(learner, job, sent)
    assert send(learner, job, None).acknowledged == 0
    seen = []
    accept = learning.accept

    def look_first(session, family_id, epoch, entry, **values):
        seen.append(storage.get(entry.path))
        return accept(session, family_id, epoch, entry, **values)

    monkeypatch.setattr(learning, "accept", look_first)
    assert send(learner, job, sent).acknowledged == 50
    assert seen == [sent.encode()]


def test_a_commit_whose_answer_was_lost_counts_once(
    database: Database,
    storage: Storage,
    family: Family,
    learner: Learner,
    job: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = contribution(job, 0, 50)
    write = database.write

    def commit_and_fail(work):
        write(work)
        raise OSError("the connection broke after the commit")

    with monkeypatch.context() as patch:
        patch.setattr(database, "write", commit_and_fail)
        with pytest.raises(OSError, match="after the commit"):
            send(learner, job, sent)
    assert learner.finalize(job.id, job.token) is not None  # not sent again, and yet in the version
    assert newest(database, family).jobs[0]["contributions"] == 1
    assert send(learner, job, sent) == Exchange(50)
    assert verify(database, storage, family).pending == 0


def test_refusals_are_answered_counted_and_change_nothing(
    database: Database, family: Family, learner: Learner, job: Running
) -> None:
    send(learner, job, contribution(job, 0, 50))
    for data, token, code in [
        (contribution(job, 40, 60).encode(), 1, "overlap"),
        (contribution(job, 60, 80, sequence=1).encode(), 1, "gap"),
        (contribution(job, 50, 80).encode(), 2, "stale_token"),
        (contribution(job, 50, 80, attempt=2).encode(), 1, "stale_token"),
        (b"nonsense", 1, "malformed"),
        (bytes(18 * 2**20), 1, "too_large"),
    ]:
        answer = learner.exchange(data, token, job.id, None, None)
        assert answer.acknowledged == 50
        assert answer.refused is not None
        assert answer.refused["code"] == code
    with database.read() as session:
        status = families.status(session, families.get(session, "default", family.name))
    assert status.refused == {"gap": 1, "malformed": 1, "overlap": 1, "stale_token": 2, "too_large": 1}
    assert status.accepted == 1
    assert send(learner, job, contribution(job, 50, 80)).acknowledged == 80


def test_of_two_meta_learners_only_the_newer_writes(
    database: Database, storage: Storage, family: Family, start_learner: StartLearner, job: Running
) -> None:
    older, newer = start_learner(), start_learner()
    assert newer.epoch == older.epoch + 1
    with pytest.raises(StaleEpochError):
        send(older, job, contribution(job, 0, 50))
    assert send(newer, job, contribution(job, 0, 50)).acknowledged == 50
    with pytest.raises(StaleEpochError):
        older.finalize(job.id, job.token)  # it finds the contribution in the ledger, and may not publish it
    with pytest.raises(StaleEpochError):
        older.ping()
    assert newer.finalize(job.id, job.token) == 1
    assert newest(database, family).epoch == newer.epoch


def test_finalize_publishes_at_once_and_only_what_is_new(database: Database, learner: Learner, family: Family) -> None:
    first, second, idle = (make_job(database, family) for _ in range(3))
    send(learner, first, contribution(first, 0, 50))
    version = learner.finalize(first.id, 1)
    assert learner.finalize(first.id, 1) == version
    send(learner, second, contribution(second, 0, 50))  # far from its time: an hour
    assert newest(database, family).version == version
    assert learner.finalize(second.id, 1) == version + 1
    assert newest(database, family).parent == version
    assert learner.finalize(idle.id, 1) is None
    with pytest.raises(RefusedError):
        learner.finalize(first.id, 2)


def test_exchanges_wait_for_no_solve_and_finalizes_share_one(
    database: Database, learner: Learner, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [make_job(database, family) for _ in range(4)]
    begun, go_on, solves = threading.Event(), threading.Event(), []
    solve = learner_module.solve

    def slow(snapshot):
        solves.append(snapshot.generation)
        begun.set()
        assert go_on.wait(60)
        return solve(snapshot)

    monkeypatch.setattr(learner_module, "solve", slow)
    with ThreadPoolExecutor(4) as pool:
        send(learner, jobs[0], contribution(jobs[0], 0, 50))
        waiting = [pool.submit(learner.finalize, jobs[0].id, 1)]
        assert begun.wait(60)
        for job in jobs[1:]:
            assert send(learner, job, contribution(job, 0, 50)).acknowledged == 50
        waiting += [pool.submit(learner.finalize, job.id, 1) for job in jobs[1:]]
        go_on.set()
        versions = [one.result(60) for one in waiting]
    assert versions[0] <= min(versions[1:])
    assert solves[-1] == 4
    assert len(solves) <= 4
    assert newest(database, family).steps == 200


def test_a_solve_that_fails_keeps_the_old_version_and_is_tried_again(
    database: Database, learner: Learner, family: Family, job: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(learner, job, contribution(job, 0, 50))
    version = learner.finalize(job.id, 1)
    send(learner, job, contribution(job, 50, 80))
    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "solve", _fails)
        with pytest.raises(OSError, match="power"):
            learner.finalize(job.id, 1)
    assert newest(database, family).version == version
    assert learner.finalize(job.id, 1) == version + 1


def test_a_job_that_follows_gets_the_p_that_its_alias_points_to(
    database: Database, learner: Learner, family: Family, job: Running
) -> None:
    assert send(learner, job, contribution(job, 0, 50), follow="nobody") == Exchange(50)
    version = learner.finalize(job.id, 1)
    given = send(learner, job, None, follow="champion")
    assert given.version == version
    with database.read() as session:
        assert given.warp == warps.content(session, newest(database, family))
    assert send(learner, job, None, follow="champion", have=version) == Exchange(50)
    uploaded = upload(database, family, make_warp())
    database.write(lambda session: aliases.set_(session, family, "champion", version, now=clock.now()))
    assert send(learner, job, None, follow="champion", have=version).version is None
    assert send(learner, job, None, follow="latest", have=version).version == uploaded.version


def test_an_upload_meanwhile_takes_its_number_and_the_learned_p_the_next(
    database: Database,
    storage: Storage,
    learner: Learner,
    family: Family,
    job: Running,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = blobs.store
    interrupted = []

    def upload_between(target: Database, data: bytes) -> str:
        if data.find(b"warpadam.warp/1") >= 0 and not interrupted:
            interrupted.append(upload(target, family, make_warp()).version)
        return store(target, data)

    monkeypatch.setattr(blobs, "store", upload_between)
    send(learner, job, contribution(job, 0, 50))
    assert learner.finalize(job.id, 1) == 2
    assert interrupted == [1]
    assert verify(database, storage, family).problems == []


def test_folding_an_ended_job_keeps_the_digest(
    database: Database, storage: Storage, family: Family, start_learner: StartLearner
) -> None:
    ended, running = (make_job(database, family) for _ in range(2))
    learner = start_learner()
    for job in (ended, running):
        for start in (0, 20):
            send(learner, job, contribution(job, start, start + 20))
    learner.finalize(ended.id, 1)
    before = verify(database, storage, family)
    with database.read() as session:
        paths = {row.path: row.job_id for row in learning.load(session, family.id).rows}
    change_job(database, ended.id, state=JobState.SUCCEEDED)
    learner.fold_ended()
    with database.read() as session:
        ledger = learning.load(session, family.id)
    assert [total.job_id for total in ledger.sums] == [ended.id]
    assert {path: storage.exists(path) for path in paths} == {path: job == running.id for path, job in paths.items()}
    assert verify(database, storage, family) == before
    again = start_learner()
    assert send(again, running, contribution(running, 40, 60)).acknowledged == 60
    again.finalize(running.id, 1)
    assert verify(database, storage, family).problems == []
    assert newest(database, family).steps == 100


def test_verification_finds_damage(
    database: Database, storage: Storage, family: Family, learner: Learner, job: Running
) -> None:
    send(learner, job, contribution(job, 0, 50))
    learner.finalize(job.id, 1)
    version = newest(database, family).version
    with database.read() as session:
        path = learning.load(session, family.id).rows[0].path
    storage.delete(path)
    assert len(verify(database, storage, family).problems) == 1
    storage.put("statistics", contribution(job, 0, 50).encode())
    assert verify(database, storage, family).problems == []
    other = upload(database, family, make_warp())

    def swap(session):
        session.get_one(WarpVersion, (family.id, version)).sha256 = other.sha256

    database.write(swap)
    assert verify(database, storage, family).problems != []


def test_a_restart_refuses_a_ledger_that_is_damaged(
    database: Database, storage: Storage, family: Family, start_learner: StartLearner, job: Running
) -> None:
    learner = start_learner()
    send(learner, job, contribution(job, 0, 50))
    with database.read() as session:
        storage.delete(learning.load(session, family.id).rows[0].path)
    with pytest.raises(DamagedLedgerError):
        start_learner()


def test_ping_tells_how_it_does(learner: Learner, family: Family, job: Running) -> None:
    send(learner, job, contribution(job, 0, 50))
    learner.finalize(job.id, 1)
    told = learner.ping()
    assert {name: told[name] for name in ("family_id", "epoch", "contributions", "pending", "version")} == {
        "family_id": family.id,
        "epoch": learner.epoch,
        "contributions": 1,
        "pending": 0,
        "version": 1,
    }


def _fails(*_: object, **__: object) -> None:
    raise OSError("the power failed")
