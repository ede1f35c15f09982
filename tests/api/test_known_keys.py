"""What a process remembers of keys: for a second, never past their end, and nothing that was forgotten meanwhile."""

from datetime import timedelta

import pytest

from api.known_keys import TRUST_S, KnownKeys
from service.errors import Unauthenticated
from service.keys import Known
from service.limits import Limits
from tests.service.kit import NOW, later

SECRET = "wa_secret"


def known(**changed: object) -> tuple[Known, Limits]:
    given = {"id": "key_1", "project": "p", "scopes": frozenset({"admin"}), "limits": {}, "is_use_due": True, **changed}
    return Known(**given), Limits()  # type: ignore[arg-type]


def test_a_key_is_trusted_for_a_second_and_its_use_is_noted_once() -> None:
    now = [100.0]
    keys = KnownKeys(clock=lambda: now[0])
    assert keys.find(SECRET, NOW) is None
    assert keys.ask(SECRET, known).known.is_use_due
    found = keys.find(SECRET, NOW)
    assert found is not None
    assert (found.known.project, found.known.is_use_due) == ("p", False)
    assert keys.find("wa_another", NOW) is None
    now[0] += TRUST_S
    assert keys.find(SECRET, NOW) is None
    assert TRUST_S <= 1


def test_the_second_counts_from_before_the_database_was_asked() -> None:
    now = [100.0]
    keys = KnownKeys(clock=lambda: now[0])

    def slowly() -> tuple[Known, Limits]:
        now[0] += TRUST_S
        return known()

    keys.ask(SECRET, slowly)
    assert keys.find(SECRET, NOW) is None


def test_a_key_opens_nothing_after_its_end() -> None:
    keys = KnownKeys(clock=lambda: 0.0)
    keys.ask(SECRET, lambda: known(expires_at=later(0.5)))
    assert keys.find(SECRET, NOW) is not None
    assert keys.find(SECRET, later(0.5)) is None
    assert keys.find(SECRET, NOW + timedelta(days=1)) is None


def test_what_was_read_before_a_revocation_is_not_remembered_after_it() -> None:
    keys = KnownKeys(clock=lambda: 0.0)
    keys.ask(SECRET, known)
    keys.forget()
    assert keys.find(SECRET, NOW) is None

    def revoked_meanwhile() -> tuple[Known, Limits]:
        keys.forget()
        return known()

    keys.ask(SECRET, revoked_meanwhile)
    assert keys.find(SECRET, NOW) is None


def test_strangers_are_not_remembered() -> None:
    keys = KnownKeys(clock=lambda: 0.0)

    def refuse() -> tuple[Known, Limits]:
        raise Unauthenticated("no")

    with pytest.raises(Unauthenticated):
        keys.ask(SECRET, refuse)
    assert keys.find(SECRET, NOW) is None
