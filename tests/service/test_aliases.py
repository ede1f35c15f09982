"""Aliases: set by hand where they may be, with their history."""

import pytest

from service import aliases, clock, warps
from service.db.models import Family
from service.db.session import Database
from service.errors import EtagMismatch, InvalidRequest, NotFound
from service.pages import PageRequest
from tests.families import make_family
from tests.service.test_warps import make_warp, upload


@pytest.fixture
def family(database: Database) -> Family:
    """One with versions 1 and 2."""
    family = make_family(database)
    for seed in range(2):
        upload(database, family, make_warp(seed))
    return family


def put(database: Database, family: Family, name: str, version: int, **options: int | str) -> int:
    return database.write(
        lambda session: aliases.set_(session, family, name, version, now=clock.now(), **options)
    ).version


def test_an_alias_moves_and_its_history_says_so(database: Database, family: Family) -> None:
    put(database, family, "stable", 1, reason="proved")
    put(database, family, "stable", 2, reason="better")
    put(database, family, "stable", 2, reason="no change")
    with database.read() as session:
        assert {alias.name: alias.version for alias in aliases.list_(session, family, PageRequest()).items} == {
            "champion": 2,
            "latest": 2,
            "stable": 2,
        }
        history = aliases.history(session, family, "stable", PageRequest()).items
    assert [(one.version, one.previous, one.reason) for one in history] == [(2, 1, "better"), (1, None, "proved")]


def test_a_champion_can_be_set_by_hand(database: Database, family: Family) -> None:
    put(database, family, "champion", 1, reason="the new one is worse")
    with database.read() as session:
        champion, latest = (warps.resolve(session, family, name) for name in ("champion", "latest"))
    assert champion is not None
    assert latest is not None
    assert (champion.version, latest.version) == (1, 2)


@pytest.mark.parametrize("name", ["latest", "data", "none", "7", "", "A", "a_b", "a" * 65, "-a"])
def test_names_that_cannot_be_set(database: Database, family: Family, name: str) -> None:
    with pytest.raises(InvalidRequest):
        put(database, family, name, 1)


def test_an_alias_points_to_a_version_that_exists(database: Database, family: Family) -> None:
    with pytest.raises(InvalidRequest) as caught:
        put(database, family, "stable", 3)
    assert (caught.value.error_code, caught.value.param) == ("warp_not_found", "version")


def test_if_match_sees_a_change_that_came_between(database: Database, family: Family) -> None:
    with pytest.raises(EtagMismatch, match="is not set"):
        put(database, family, "stable", 1, expected=frozenset({1}))
    put(database, family, "stable", 1)
    with pytest.raises(EtagMismatch, match="points to version 1"):
        put(database, family, "stable", 2, expected=frozenset({2}))
    assert put(database, family, "stable", 2, expected=frozenset({1})) == 2
    with pytest.raises(EtagMismatch):
        database.write(
            lambda session: aliases.delete(session, family, "stable", expected=frozenset({1}), now=clock.now())
        )


def test_delete_keeps_the_history(database: Database, family: Family) -> None:
    put(database, family, "stable", 1)
    database.write(lambda session: aliases.delete(session, family, "stable", now=clock.now()))
    with database.read() as session:
        assert "stable" not in [alias.name for alias in aliases.list_(session, family, PageRequest()).items]
        history = aliases.history(session, family, "stable", PageRequest()).items
        with pytest.raises(NotFound):
            warps.resolve(session, family, "stable")
    assert [(one.version, one.previous) for one in history] == [(None, 1), (1, None)]
    with pytest.raises(NotFound):
        database.write(lambda session: aliases.delete(session, family, "stable", now=clock.now()))


@pytest.mark.parametrize("name", ["champion", "latest"])
def test_what_belongs_to_every_family_cannot_be_deleted(database: Database, family: Family, name: str) -> None:
    with pytest.raises(InvalidRequest):
        database.write(lambda session: aliases.delete(session, family, name, now=clock.now()))


def test_an_alias_that_never_was_has_no_history(database: Database, family: Family) -> None:
    with database.read() as session, pytest.raises(NotFound):
        aliases.history(session, family, "nobody", PageRequest())
