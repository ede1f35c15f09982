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
    limit, seal = _limit(request), _seal(filters)
    if request.after is not None:
        last = _read(request.after, seal)
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
    limit, seal = _limit(request), _seal(filters)
    last = None if request.after is None else _read(request.after, seal)
    if not isinstance(last, str | None):
        raise InvalidRequest("after must be the next_cursor of an earlier page", param="after")
    ids = find(last, limit + 1)
    return Page(ids) if len(ids) <= limit else Page(ids[:limit], _write(ids[limit - 1], seal))


def _limit(request: PageRequest) -> int:
    if request.limit < 1:
        raise InvalidRequest("limit must be at least 1", param="limit")
    return min(request.limit, MAX_LIMIT)


def _seal(filters: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(filters, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _write(last: Any, seal: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([last, seal]).encode()).decode().rstrip("=")


def _read(cursor: str, seal: str) -> Any:
    try:
        last, made_with = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError as error:
        raise InvalidRequest("after must be the next_cursor of an earlier page", param="after") from error
    if made_with != seal:
        raise InvalidRequest("this cursor was made with other filters; start again without after", param="after")
    if not isinstance(last, str | int):
        raise InvalidRequest("after must be the next_cursor of an earlier page", param="after")
    return last
