"""Cursors come from clients, who can write what they like."""

import base64
import json
from typing import Any

import pytest
from sqlalchemy import select

from service.db.models import Event, Webhook
from service.db.session import Database
from service.errors import InvalidRequest
from service.pages import MAX_INTEGER, PageRequest, paginate, sealed

FILTERS = {"project": "default"}


def cursor(content: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


FORGED = [
    cursor(7),
    cursor(None),
    cursor({"last": 1}),
    cursor([]),
    cursor([1, 2, 3]),
    cursor([[1], sealed(FILTERS)]),
    cursor([True, sealed(FILTERS)]),
    cursor([None, sealed(FILTERS)]),
    cursor([1.5, sealed(FILTERS)]),
    cursor([MAX_INTEGER + 1, sealed(FILTERS)]),
    cursor([-(10**400), sealed(FILTERS)]),
    cursor(["fam\0", sealed(FILTERS)]),
    cursor(["fam\ud800", sealed(FILTERS)]),
    base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    "N_",
    "ä",
    "=",
    "",
]


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
@pytest.mark.parametrize("key", [Webhook.id, Event.seq], ids=["text", "number"])
def test_what_is_no_cursor_is_refused(database: Database, key: Any, forged: str) -> None:
    with database.read() as session, pytest.raises(InvalidRequest) as caught:
        paginate(session, select(key.class_), key, PageRequest(5, forged), newest_first=True, filters=FILTERS)
    assert caught.value.param == "after"


@pytest.mark.parametrize(
    ("key", "last"), [(Webhook.id, "7"), (Event.seq, MAX_INTEGER), (Event.seq, -MAX_INTEGER), (Event.seq, 0)]
)
def test_what_could_be_one_is_looked_up(database: Database, key: Any, last: object) -> None:
    page = PageRequest(5, cursor([last, sealed(FILTERS)]))
    with database.read() as session:
        found = paginate(session, select(key.class_), key, page, newest_first=True, filters=FILTERS)
    assert found.items == []


@pytest.mark.parametrize(("key", "last"), [(Webhook.id, 7), (Event.seq, "7")])
def test_a_cursor_of_another_kind_of_key_is_refused(database: Database, key: Any, last: object) -> None:
    page = PageRequest(5, cursor([last, sealed(FILTERS)]))
    with database.read() as session, pytest.raises(InvalidRequest):
        paginate(session, select(key.class_), key, page, newest_first=True, filters=FILTERS)
