"""Who sends a request: found before its body is read, so that a stranger's upload is never taken in.

On loopback no key is wanted until one was ever made (`auth: auto`); then, and on any other address, every path that is
not in PUBLIC wants one. What this process remembers is bounded: whether keys are wanted, and what a key opens, for a
second (api/known_keys.py), and a bucket of requests for each project.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio.to_thread
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import Scope

from api.known_keys import KnownKeys
from service import bind, clock, keys
from service.access import DEFAULT_PROJECT, LOOPBACK, SCOPES, Caller
from service.db.session import Database
from service.errors import Unauthenticated
from service.keys import Known
from service.limits import Buckets, Limits, Rate
from service.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
PUBLIC = frozenset({"/", "/docs", "/openapi.json", "/healthz", "/readyz", "/favicon.svg"})
PUBLIC_FOLDER = "/static/"


@dataclass(frozen=True)
class Admitted:
    """A request that may go on to its route; `used` is a key whose use should be noted."""

    caller: Caller
    needed_no_key: bool = False
    rate: Rate | None = None
    used: str | None = None


class Access:
    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._defaults = Limits.of(settings)
        self.buckets = Buckets()
        self._known_keys = KnownKeys()
        self._wants_keys = bind.always_wants_keys(settings)
        self._looked_at = -LOOK_EVERY_S

    async def admit(self, scope: Scope, headers: Headers, request_id: str) -> Admitted:
        """Raises Unauthenticated, RateLimited, and errors of the database."""
        client = scope.get("client")
        address = client[0] if client else ""
        is_public = scope["path"] in PUBLIC or scope["path"].startswith(PUBLIC_FOLDER)
        if not await self.wants_keys(or_last_known=is_public):
            caller = Caller(DEFAULT_PROJECT, LOOPBACK, frozenset(SCOPES), address, request_id)
            return Admitted(caller, needed_no_key=True)
        if is_public:
            return Admitted(Caller("", "", frozenset(), address, request_id))
        secret = _secret(headers)
        found = self._known_keys.find(secret, clock.now())
        if found is None:
            found = await anyio.to_thread.run_sync(self._known_keys.ask, secret, lambda: self._authenticate(secret))
        known, quota = found.known, found.limits.requests_per_minute
        rate = self.buckets.take(known.project, quota) if quota is not None else None
        caller = Caller(known.project, known.id, known.scopes, address, request_id)
        return Admitted(caller, rate=rate, used=known.id if known.is_use_due else None)

    async def wants_keys(self, *, or_last_known: bool = False) -> bool:
        """Whether a key is needed. Once it is, it stays so: a key that was revoked opens the service to nobody else."""
        if self._wants_keys or self._settings.auth == "off":
            return self._wants_keys
        if time.monotonic() - self._looked_at >= LOOK_EVERY_S:
            try:
                self._wants_keys = await anyio.to_thread.run_sync(self._look)
                self._looked_at = time.monotonic()
            except SQLAlchemyError:
                if not or_last_known:
                    raise
        return self._wants_keys

    def look_again(self) -> None:
        """A key was just made or revoked here."""
        self._looked_at = -LOOK_EVERY_S
        self._known_keys.forget()

    def note_use(self, key_id: str) -> None:
        """After the answer, so that nobody waits for it; a use that cannot be noted is no reason to fail."""
        try:
            self._database.write(lambda session: keys.note_use(session, key_id, clock.now()))
        except SQLAlchemyError as error:
            log.warning("the use of %s could not be noted: %s", key_id, type(error).__name__)

    def watching(self, caller: Caller) -> Callable[[], bool]:
        """Whether the caller would still be admitted, for answers that go on for long; a key of none is always good."""

        def is_welcome() -> bool:
            if not caller.actor.startswith("key_"):
                return True
            with self._database.read() as session:
                return keys.is_active(session, caller.actor, clock.now())

        return is_welcome

    def _look(self) -> bool:
        with self._database.read() as session:
            return keys.were_ever(session)

    def _authenticate(self, secret: str) -> tuple[Known, Limits]:
        with self._database.read() as session:
            known = keys.authenticate(session, secret, clock.now())
        return known, self._defaults.with_own(known.limits)


def _secret(headers: Headers) -> str:
    """The key that was sent. Raises Unauthenticated (`no_key`)."""
    sent = headers.getlist("authorization")
    kind, _, secret = sent[0].partition(" ") if len(sent) == 1 else ("", "", "")
    if kind.lower() != "bearer" or not secret.strip():
        raise Unauthenticated("This service wants a key: send it as Authorization: Bearer wa_….", code="no_key")
    return secret.strip()
