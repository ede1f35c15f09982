"""Keys: made, found by their secret, revoked.

A secret is shown once, by `create`, and stored as a digest. An unknown id and a wrong secret take the same steps, and
get the same answer.
"""

import hmac
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service import audit, projects, tokens
from service.access import SCOPES, Caller
from service.db import key_queries
from service.db.models import ApiKey, Json
from service.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from service.ids import new_id
from service.pages import Page, PageRequest, paginate

USE_NOTED_EVERY = timedelta(minutes=1)

MAX_NAME = 200

_NOBODYS = tokens.digest("")


@dataclass(frozen=True)
class Made:
    """A new key, and its secret: the only time that it is known."""

    key: ApiKey
    secret: str


@dataclass(frozen=True)
class Known:
    """A key that opened its project."""

    id: str
    project: str
    scopes: frozenset[str]
    limits: Json
    """The project's own (service.limits)."""
    is_use_due: bool
    """Whether this use should be noted."""
    expires_at: datetime | None = None


def create(
    session: Session,
    caller: Caller,
    *,
    name: str,
    scopes: Collection[str],
    expires_at: datetime | None = None,
    now: datetime,
) -> Made:
    """A key of the caller's project. Nobody hands out a scope that he lacks: Forbidden.

    InvalidRequest for no scope, an unknown one, a long name, or an end that is over.
    """
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        what = f"{unknown[0]} is no scope" if unknown else "a key needs a scope"
        raise InvalidRequest(f"{what}: use {', '.join(SCOPES)}", param="scopes")
    if len(name) > MAX_NAME:
        raise InvalidRequest(f"a key's name has at most {MAX_NAME} characters", param="name")
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("this time is over: a key expires in the future, or never", param="expires_at")
    for scope in SCOPES:
        if scope in scopes and not caller.may(scope):
            raise Forbidden(f"This key lacks the scope {scope}, so it cannot give it to another.", param=scope)
    projects.ensure(session, caller.project, now)
    key_id = new_id("key")
    secret = tokens.new(key_id)
    row = ApiKey(
        id=key_id,
        project=caller.project,
        name=name,
        scopes=[scope for scope in SCOPES if scope in scopes],
        sha256=tokens.digest(secret),
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    audit.record(session, caller, "key.create", key_id, {"name": name, "scopes": row.scopes}, now=now)
    return Made(row, secret)


def get(session: Session, project: str, key_id: str) -> ApiKey:
    """Raises NotFound, for a revoked one too."""
    row = key_queries.unrevoked(session, key_id)
    if row is None or row.project != project:
        raise NotFound(f"There is no key {key_id}.")
    return row


def list_(session: Session, project: str, page: PageRequest) -> Page[ApiKey]:
    """Newest first; revoked ones are not there."""
    statement = key_queries.of_project(project)
    return paginate(session, statement, ApiKey.id, page, newest_first=True, filters={"project": project})


def all_(session: Session) -> Sequence[ApiKey]:
    """Those of every project, for the server's own command line."""
    return key_queries.everywhere(session)


def find(session: Session, key_id: str) -> ApiKey:
    """The key of whatever project, for the server's own command line. Raises NotFound."""
    row = key_queries.unrevoked(session, key_id)
    if row is None:
        raise NotFound(f"There is no key {key_id}.")
    return row


def revoke(session: Session, caller: Caller, key_id: str, now: datetime) -> None:
    """From now on the key opens nothing. Raises NotFound."""
    row = get(session, caller.project, key_id)
    row.revoked_at = now
    audit.record(session, caller, "key.revoke", key_id, {"name": row.name}, now=now)


def authenticate(session: Session, secret: str, now: datetime) -> Known:
    """The key that this secret belongs to. Raises Unauthenticated (`bad_key`); only the holder learns that it ended."""
    key_id = tokens.key_id(secret)
    found = key_queries.with_limits(session, key_id) if key_id else None
    expected = found[0].sha256 if found else _NOBODYS
    is_right = hmac.compare_digest(tokens.digest(secret), expected)
    if not is_right or found is None:
        raise Unauthenticated("This key is not known here: check it, or make a new one (warpadam keys create).")
    key, limits = found
    if key.revoked_at is not None:
        raise Unauthenticated("This key was revoked: make a new one (warpadam keys create).")
    if key.expires_at is not None and key.expires_at <= now:
        raise Unauthenticated("This key has expired: make a new one (warpadam keys create).")
    is_due = key.last_used_at is None or now - key.last_used_at >= USE_NOTED_EVERY
    return Known(key.id, key.project, frozenset(key.scopes), limits, is_due, key.expires_at)


def note_use(session: Session, key_id: str, now: datetime) -> None:
    """Notes that the key was used, at most once a minute."""
    key_queries.touch(session, key_id, now, now - USE_NOTED_EVERY)


def is_active(session: Session, key_id: str, now: datetime) -> bool:
    """Whether the key still opens its project."""
    row = key_queries.unrevoked(session, key_id)
    return row is not None and (row.expires_at is None or row.expires_at > now)


def were_ever(session: Session) -> bool:
    """Whether the service has ever had a key. From then on it wants one, also when all are revoked."""
    return key_queries.any_ever(session)


def are_active(session: Session, now: datetime) -> bool:
    """Whether anybody could enter where keys are required."""
    return key_queries.any_active(session, now)
