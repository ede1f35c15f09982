"""Aliases: names that point to a version of a family's P, and the history of where they pointed.

`latest` is always the newest version and moves by itself. `champion` is what a job gets by default; the family's
promotion policy moves it, and so may people. Other aliases belong to people.
"""

import re
from datetime import datetime
from typing import Literal

from sqlalchemy.orm import Session

from service.db import family_queries, warp_queries
from service.db.insert import insert_new
from service.db.models import Alias, AliasChange, Family, WarpVersion
from service.errors import EtagMismatch, InvalidRequest, NotFound
from service.pages import Page, PageRequest, paginate

ALIAS_PATTERN = r"[a-z][a-z0-9-]{0,63}"
BY_ITSELF = ("champion", "latest")
Expected = frozenset[int] | Literal["any"]
"""What an alias must point to at present: one of these versions, or any, as long as it is there."""
NO_ALIAS = ("data", "none")
"""Words of `optimizer.warp` that mean something else than an alias."""


def list_(session: Session, family: Family, page: PageRequest) -> Page[Alias]:
    """By name."""
    statement = warp_queries.aliases(family.id)
    return paginate(session, statement, Alias.name, page, newest_first=False, filters={"family": family.id})


def get(session: Session, family: Family, name: str) -> Alias:
    alias = session.get(Alias, (family.id, name))
    if alias is None:
        raise NotFound(f"Family {family.name} has no alias {name}.")
    return alias


def version_of(session: Session, family_id: int, name: str) -> int | None:
    """Where the alias points; None where there is no such alias."""
    alias = session.get(Alias, (family_id, name), populate_existing=True)
    return None if alias is None else alias.version


def set_(
    session: Session,
    family: Family,
    name: str,
    version: int,
    *,
    reason: str = "",
    expected: Expected | None = None,
    now: datetime,
) -> Alias:
    """Points the alias to a version, by hand. `expected`: what it must point to at present (If-Match)."""
    if name == "latest":
        raise InvalidRequest("latest is always the newest version and cannot be set: choose another alias")
    if not re.fullmatch(ALIAS_PATTERN, name) or name in NO_ALIAS:
        raise InvalidRequest(
            f"{name!r} can be no alias: 1 to 64 characters of a-z, 0-9 and -, the first a letter; not data or none"
        )
    family_queries.locked(session, family.id)
    row = session.get(WarpVersion, (family.id, version))
    if row is None or not warp_queries.counted_on(session, row):
        why = "has no version" if row is None else "has no file any more of version"
        message = f"Family {family.name} {why} {version}: list its warps."
        raise InvalidRequest(message, param="version", code="warp_not_found")
    _check_expected(session, family, name, expected)
    move(session, family.id, name, version, reason=reason, now=now)
    return get(session, family, name)


def delete(session: Session, family: Family, name: str, *, expected: Expected | None = None, now: datetime) -> None:
    if name in BY_ITSELF:
        raise InvalidRequest(f"{name} belongs to every family and cannot be deleted")
    family_queries.locked(session, family.id)
    alias = get(session, family, name)
    _check_expected(session, family, name, expected)
    session.add(AliasChange(family_id=family.id, name=name, version=None, previous=alias.version, reason="", at=now))
    session.delete(alias)
    session.flush()


def history(session: Session, family: Family, name: str, page: PageRequest) -> Page[AliasChange]:
    """Every move of the alias, newest first; also of one that was deleted. NotFound for one that never was."""
    statement = warp_queries.alias_changes(family.id, name)
    filters = {"family": family.id, "alias": name}
    found = paginate(session, statement, AliasChange.id, page, newest_first=True, filters=filters)
    if not found.items and page.after is None:
        raise NotFound(f"Family {family.name} has no alias {name}.")
    return found


def move(session: Session, family_id: int, name: str, version: int, *, reason: str, now: datetime) -> None:
    """Points the alias to an existing version and records it; nothing where it points there already.

    Callers hold the family's row (`family_queries.locked`).
    """
    previous = version_of(session, family_id, name)
    if previous == version:
        return
    if not insert_new(session, Alias, family_id=family_id, name=name, version=version, updated_at=now):
        alias = session.get_one(Alias, (family_id, name))
        alias.version, alias.updated_at = version, now
    change = AliasChange(family_id=family_id, name=name, version=version, previous=previous, reason=reason, at=now)
    session.add(change)
    session.flush()


def _check_expected(session: Session, family: Family, name: str, expected: Expected | None) -> None:
    current = version_of(session, family.id, name)
    is_met = expected is None or (current is not None and (expected == "any" or current in expected))
    if not is_met:
        where = "is not set" if current is None else f"points to version {current}"
        raise EtagMismatch(f"{family.name}@{name} {where}, not to what If-Match says: read it again and decide anew.")
