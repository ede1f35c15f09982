"""Keys: what a secret is, what is stored, who may hand out what, when one opens its project."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from service import audit, keys, tokens
from service.access import SCOPES, Caller
from service.db.models import ApiKey
from service.db.session import Database
from service.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from service.ids import new_id
from service.pages import PageRequest
from tests.service.kit import NOW, later

ADMIN = Caller("alpha", "key_admin", frozenset({"admin"}), "192.0.2.7", "req_1")


def make(database: Database, *scopes: str, caller: Caller = ADMIN, **fields: object) -> keys.Made:
    given = {"name": "n", "scopes": scopes or ("jobs:read",), "now": NOW, **fields}
    return database.write(lambda session: keys.create(session, caller, **given))  # type: ignore[arg-type]


def known(database: Database, secret: str, seconds: float = 0) -> keys.Known:
    with database.read() as session:
        return keys.authenticate(session, secret, later(seconds))


def test_a_secret_is_recognised_offline() -> None:
    key_id = new_id("key")
    secret = tokens.new(key_id)
    assert re.fullmatch(r"wa_[0-9a-z]{26}_[0-9a-z]{39}", secret)
    assert tokens.key_id(secret) == key_id
    assert len({tokens.new(key_id) for _ in range(100)}) == 100
    for wrong in (
        secret[:-1],
        secret + "0",
        secret.upper(),
        "",
        "wa_",
        secret[:-1] + ("0" if secret[-1] != "0" else "1"),
    ):
        assert tokens.key_id(wrong) is None


def test_one_changed_character_is_told_by_the_checksum() -> None:
    secret = tokens.new(new_id("key"))
    for place in range(3, len(secret)):
        other = "0" if secret[place] != "0" else "1"
        assert tokens.key_id(secret[:place] + other + secret[place + 1 :]) is None


def test_the_secret_opens_its_project_and_is_nowhere_stored(database: Database) -> None:
    made = make(database, "jobs:read", "warps:write")
    found = known(database, made.secret)
    assert (found.id, found.project, found.scopes) == (made.key.id, "alpha", {"jobs:read", "warps:write"})
    random_part = made.secret.rpartition("_")[2]
    with database.engine.connect() as connection:
        for table in ("api_keys", "audit", "projects"):
            stored = str(connection.execute(text(f"SELECT * FROM {table}")).all())
            assert random_part[:20] not in stored


def test_unknown_and_wrong_are_one_answer(database: Database) -> None:
    made = make(database)
    wrong = tokens.new(made.key.id)
    unknown = tokens.new(new_id("key"))
    said = []
    for secret in (wrong, unknown, "wa_nonsense", ""):
        with pytest.raises(Unauthenticated) as refused:
            known(database, secret)
        said.append((refused.value.error_code, refused.value.detail))
    assert len(set(said)) == 1
    assert said[0][0] == "bad_key"


def test_a_key_ends(database: Database) -> None:
    made = make(database, expires_at=later(60))
    assert known(database, made.secret, 59)
    with pytest.raises(Unauthenticated, match="expired"):
        known(database, made.secret, 60)
    other = make(database)
    database.write(lambda session: keys.revoke(session, ADMIN, other.key.id, NOW))
    with pytest.raises(Unauthenticated, match="revoked"):
        known(database, other.secret)
    with database.read() as session:
        assert [row.id for row in keys.list_(session, "alpha", PageRequest()).items] == [made.key.id]
        with pytest.raises(NotFound):
            keys.get(session, "alpha", other.key.id)


def test_a_key_is_of_its_project(database: Database) -> None:
    made = make(database)
    stranger = replace(ADMIN, project="omega")
    with pytest.raises(NotFound):
        database.write(lambda session: keys.revoke(session, stranger, made.key.id, NOW))
    with database.read() as session:
        assert keys.list_(session, "omega", PageRequest()).items == []
    assert known(database, made.secret)


def test_nobody_hands_out_what_he_lacks(database: Database) -> None:
    assert make(database, *(set(SCOPES) - {"code:run"})).key.scopes == [each for each in SCOPES if each != "code:run"]
    with pytest.raises(Forbidden, match="code:run"):
        make(database, "jobs:read", "code:run")
    coder = replace(ADMIN, scopes=frozenset({"admin", "code:run"}))
    assert make(database, "code:run", caller=coder).key.scopes == ["code:run"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["jobs"]}, "scopes"),
        ({"expires_at": NOW}, "expires_at"),
        ({"caller": replace(ADMIN, project="A b")}, "project"),
    ],
)
def test_what_no_key_can_be(database: Database, fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make(database, **fields)  # type: ignore[arg-type]
    assert refused.value.param == param


def test_use_is_noted_once_a_minute(database: Database) -> None:
    made = make(database)

    def used(seconds: float) -> object:
        if known(database, made.secret, seconds).is_use_due:
            database.write(lambda session: keys.note_use(session, made.key.id, later(seconds)))
        with database.read() as session:
            return session.get_one(ApiKey, made.key.id).last_used_at

    assert used(0) == NOW
    assert used(59) == NOW
    assert used(60) == later(60)
    database.write(lambda session: keys.note_use(session, made.key.id, later(61)))
    with database.read() as session:
        assert session.get_one(ApiKey, made.key.id).last_used_at == later(60)


def test_once_there_was_a_key_there_always_was(database: Database) -> None:
    with database.read() as session:
        assert not keys.were_ever(session)
        assert not keys.are_active(session, NOW)
    made = make(database, expires_at=later(60))
    with database.read() as session:
        assert keys.are_active(session, NOW)
        assert not keys.are_active(session, NOW + timedelta(minutes=1))
    database.write(lambda session: keys.revoke(session, ADMIN, made.key.id, NOW))
    with database.read() as session:
        assert not keys.are_active(session, NOW)
        assert keys.were_ever(session)


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit"])
def test_the_database_keeps_the_audit_log_append_only(database: Database, change: str) -> None:
    made = make(database)
    with pytest.raises(Exception, match="append-only"), database.engine.begin() as connection:
        connection.execute(text(change))
    with database.read() as session:
        (row,) = audit.list_(session, "alpha", PageRequest()).items
    assert (row.actor, row.action, row.target, row.address, row.request_id, row.created_at) == (
        "key_admin",
        "key.create",
        made.key.id,
        "192.0.2.7",
        "req_1",
        NOW,
    )


def test_the_audit_log_cannot_be_emptied_on_postgresql(postgres_url: str) -> None:
    database = Database(postgres_url)
    with pytest.raises(Exception, match="append-only"), database.engine.begin() as connection:
        connection.execute(text("TRUNCATE audit"))
    database.dispose()


def test_a_change_that_fails_is_not_recorded(database: Database) -> None:
    def broken(session: object) -> None:
        audit.record(session, ADMIN, "job.submit", "job_x", now=NOW)  # type: ignore[arg-type]
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError):
        database.write(broken)
    with database.read() as session:
        assert audit.list_(session, "alpha", PageRequest()).items == []
