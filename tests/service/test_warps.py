"""Versions of a family's P: numbered, found by number and alias, uploaded only if they are a P."""

import hashlib

import numpy as np
import pytest
from sqlalchemy import event

from service import aliases, clock, families, warps
from service.db.models import Family, WarpVersion
from service.db.session import Database
from service.errors import InvalidRequest, NotFound
from service.pages import PageRequest
from tests.families import make_family
from warpadam import warpfile


def make_warp(seed: int = 0, size: int = 6) -> bytes:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return warpfile.encode({f"input:{size}": matrix.astype(np.float32)}, warpfile.WarpMetadata(rule="mine"))


def upload(database: Database, family: Family, data: bytes) -> WarpVersion:
    return database.write(lambda session: warps.upload(session, family, data, clock.now()))


def test_an_uploaded_p_is_the_next_version_byte_for_byte(database: Database) -> None:
    family = make_family(database)
    files = [make_warp(seed) for seed in range(3)]
    rows = [upload(database, family, data) for data in files]
    assert [row.version for row in rows] == [1, 2, 3]
    first = rows[0]
    assert (first.rule, first.epoch, first.keys) == ("uploaded", 0, [{"key": "input:6", "size": 6}])
    assert (first.sha256, first.size) == (hashlib.sha256(files[0]).hexdigest(), len(files[0]))
    with database.read() as session:
        assert [warps.content(session, row) for row in rows] == files
        assert [row.version for row in warps.list_(session, family, PageRequest()).items] == [3, 2, 1]


def test_the_same_p_twice_is_two_versions_of_one_blob(database: Database) -> None:
    family = make_family(database)
    assert upload(database, family, make_warp()).sha256 == upload(database, family, make_warp()).sha256


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", make_warp()[:-4], make_warp() + b"x"])
def test_what_is_not_a_p_is_refused(database: Database, data: bytes) -> None:
    family = make_family(database)
    with pytest.raises(InvalidRequest, match="not a P"):
        upload(database, family, data)
    with database.read() as session:
        assert warps.list_(session, family, PageRequest()).items == []


def test_resolve_understands_numbers_and_aliases(database: Database) -> None:
    family = make_family(database)
    for seed in range(2):
        upload(database, family, make_warp(seed))
    database.write(lambda session: aliases.set_(session, family, "stable", 1, now=clock.now()))
    with database.read() as session:
        found = {ref: warps.resolve(session, family, ref) for ref in (1, "1", 2, "latest", "champion", "stable")}
        for ref in (0, 3, -1, "3", "nobody", 2**70):
            with pytest.raises(NotFound):
                warps.resolve(session, family, ref)
    assert {ref: row.version for ref, row in found.items() if row} == {
        1: 1,
        "1": 1,
        2: 2,
        "latest": 2,
        "champion": 2,
        "stable": 1,
    }


@pytest.mark.parametrize("alias", ["latest", "champion"])
def test_a_family_without_a_p_resolves_to_none(database: Database, alias: str) -> None:
    family = make_family(database)
    with database.read() as session:
        assert warps.resolve(session, family, alias) is None


@pytest.mark.parametrize(("promotion", "champion"), [("latest", 1), ("guarded", None), ("manual", None)])
def test_the_policy_moves_the_champion(database: Database, promotion: str, champion: int | None) -> None:
    family = make_family(database, promotion=promotion)
    upload(database, family, make_warp())
    with database.read() as session:
        status = families.status(session, families.get(session, "default", "patches"))
    assert (status.latest, status.champion) == (1, champion)


def test_many_families_are_told_from_as_few_looks_as_one(database: Database) -> None:
    """And each by its own versions."""
    shown = [make_family(database, name) for name in ("a", "b", "c")]
    for family in shown[:2]:
        upload(database, family, make_warp())
    upload(database, shown[1], make_warp(1))
    statements: list[str] = []

    def note(_c: object, _k: object, statement: str, *_rest: object) -> None:
        statements.extend([statement] * statement.startswith("SELECT"))

    event.listen(database.engine, "before_cursor_execute", note)
    with database.read() as session:
        families.status(session, shown[0])
        of_one = len(statements)
        seen = families.statuses(session, shown)
    event.remove(database.engine, "before_cursor_execute", note)
    assert len(statements) == 2 * of_one
    assert [seen[family.id].latest for family in shown] == [1, 2, None]
