"""Families: made once, named well, deleted only when nothing runs."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from service import clock, families, learning
from service.db.models import Family
from service.db.session import Database
from service.errors import InUse, InvalidRequest, NotFound
from service.pages import PageRequest
from service.states import JobState
from tests.families import change_job, make_family, make_job


def test_ensure_makes_a_family_once(database: Database) -> None:
    first = database.write(lambda session: families.ensure(session, "default", "patches"))
    again = database.write(lambda session: families.ensure(session, "default", "patches"))
    other = database.write(lambda session: families.ensure(session, "another", "patches"))
    assert first.id == again.id != other.id
    assert (first.promotion, first.epoch, first.accepted, first.refused) == ("latest", 0, 0, {})


def test_jobs_that_need_the_same_new_family_at_once_share_it(database: Database) -> None:
    def ensure(_: int) -> int:
        return database.write(lambda session: families.ensure(session, "default", "patches")).id

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ensure, range(8)))) == 1


def test_create_refuses_a_name_that_is_taken(database: Database) -> None:
    make_family(database)
    with pytest.raises(InUse, match="patches"):
        make_family(database)


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "#1", "ä", "a" * 65, "a\n"])
def test_bad_names_are_refused(database: Database, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_family(database, name)
    assert caught.value.param == "name"


def test_promotion_is_one_of_three(database: Database) -> None:
    with pytest.raises(InvalidRequest, match="guarded"):
        make_family(database, promotion="best")
    make_family(database)
    changed = database.write(lambda session: families.update(session, "default", "patches", promotion="manual"))
    assert (changed.promotion, changed.description) == ("manual", "")
    with pytest.raises(InvalidRequest, match="guarded"):
        database.write(lambda session: families.update(session, "default", "patches", promotion=""))


def test_a_family_is_seen_by_its_project_only(database: Database) -> None:
    make_family(database)
    with database.read() as session:
        assert families.get(session, "default", "patches").name == "patches"
        assert [one.name for one in families.list_(session, "default", PageRequest()).items] == ["patches"]
        assert families.list_(session, "another", PageRequest()).items == []
        with pytest.raises(NotFound):
            families.get(session, "another", "patches")


def test_delete_waits_for_jobs_and_then_frees_the_name(database: Database) -> None:
    family = make_family(database)
    job = make_job(database, family, JobState.QUEUED)
    epoch = database.write(lambda session: learning.claim_epoch(session, family.id, now=clock.now()))
    with pytest.raises(InUse, match="1 jobs"):
        database.write(lambda session: families.delete(session, "default", "patches"))
    change_job(database, job.id, state=JobState.CANCELLED)
    database.write(lambda session: families.delete(session, "default", "patches"))
    with database.read() as session:
        assert families.list_(session, "default", PageRequest()).items == []
        for name in ("patches", f"#{family.id}"):
            with pytest.raises(NotFound):
                families.get(session, "default", name)
        assert session.get_one(Family, family.id).epoch > epoch  # its meta-learner can write no more
    assert make_family(database).id != family.id


def test_status_of_a_new_family(database: Database) -> None:
    family = make_family(database)
    with database.read() as session:
        status = families.status(session, family)
    assert status == families.FamilyStatus(None, None, accepted=0, refused={}, pending=0, epoch=0)
