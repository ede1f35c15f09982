"""Lists in pages: opaque cursors, bound to the filters that they were made with (CONTRACT, Conventions)."""

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.errors import InvalidRequest

T = TypeVar("T")

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_INTEGER = 2**63 - 1


@dataclass(frozen=True)
class Page(Generic[T]):
    items: list[T]
    next_cursor: str | None = None

    @property
    def has_more(self) -> bool:
        return self.next_cursor is not None


@dataclass(frozen=True)
class PageRequest:
    """`limit` over 100 means 100; `after` takes a `next_cursor` only."""

    limit: int = DEFAULT_LIMIT
    after: str | None = None


def paginate(
    session: Session,
    statement: Select[T],
    key: InstrumentedAttribute[Any],
    request: PageRequest,
    *,
    newest_first: bool,
    filters: Mapping[str, Any],
) -> Page[T]:
    """One page of `statement` in the order of `key`, which must be unique within it.

    Raises InvalidRequest (param `limit` or `after`) for a limit below 1 and for a cursor that is not one, or was made
    with other `filters`.
    """
    limit, seal = _limit(request), sealed(filters)
    if request.after is not None:
        last = _read(request.after, seal, key.type.python_type)
        statement = statement.where(key < last if newest_first else key > last)
    ordered = statement.order_by(key.desc() if newest_first else key.asc()).limit(limit + 1)
    rows = list(session.scalars(ordered))
    if len(rows) <= limit:
        return Page(rows)
    return Page(rows[:limit], _write(getattr(rows[limit - 1], key.key), seal))


def page_of_ids(
    request: PageRequest, filters: Mapping[str, Any], find: Callable[[str | None, int], list[str]]
) -> Page[str]:
    """One page of ids, newest first; `find` gets the id that the page comes after, and how many ids are wanted.

    Raises InvalidRequest as `paginate` does.
    """
    limit, seal = _limit(request), sealed(filters)
    last = None if request.after is None else _read(request.after, seal, str)
    ids = find(last, limit + 1)
    return Page(ids) if len(ids) <= limit else Page(ids[:limit], _write(ids[limit - 1], seal))


def _limit(request: PageRequest) -> int:
    if request.limit < 1:
        raise InvalidRequest("limit must be at least 1", param="limit")
    return min(request.limit, MAX_LIMIT)


def sealed(filters: Mapping[str, Any]) -> str:
    """What a cursor says of the filters it was made with; no secret, so it proves nothing."""
    return hashlib.sha256(json.dumps(filters, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _write(last: Any, seal: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([last, seal]).encode()).decode().rstrip("=")


def _read(cursor: str, seal: str, kind: type[Any]) -> Any:
    """What `_write` was given, which is a `kind`. Anybody can write a cursor, so nothing of it is believed."""
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, RecursionError) as error:
        raise _not_a_cursor() from error
    if not (isinstance(found, list) and len(found) == 2 and type(found[0]) is kind):
        raise _not_a_cursor()
    last, made_with = found
    if made_with != seal:
        raise InvalidRequest("this cursor was made with other filters; start again without after", param="after")
    # Databases refuse larger integers, and PostgreSQL a text with NUL or with half a character.
    if abs(last) > MAX_INTEGER if isinstance(last, int) else not (last.isascii() and last.isprintable()):
        raise _not_a_cursor()
    return last


def _not_a_cursor() -> InvalidRequest:
    return InvalidRequest("after must be the next_cursor of an earlier page", param="after")
