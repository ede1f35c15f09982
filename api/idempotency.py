"""Idempotency-Key on POST: the same request twice is executed once (CONTRACT, Conventions).

The answer is stored in the same transaction as the work, so there is no moment in which the work is done and its answer
unknown. Only requests that were executed are stored: one that was refused leaves its key free.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.changes import Change
from api.deps import CallerDep, ServicesDep
from service import clock, idempotency
from service.access import Caller
from service.db.session import Database

Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="Makes a repeated POST safe for 24 h."),
]


@dataclass(frozen=True)
class Made:
    """What a POST answers: a model, where the new thing is, and what the audit log says of it."""

    model: BaseModel
    status: int = 200
    location: str | None = None
    change: Change | None = None
    """None: nothing changed, or the use case has recorded it itself."""
    kept: BaseModel | None = None
    """What a repetition gets, where that is not `model`: no secret is stored."""

    @property
    def headers(self) -> dict[str, str]:
        return {"Location": self.location} if self.location else {}


@dataclass(frozen=True)
class Once:
    """Runs a POST's transaction, once per key."""

    database: Database
    caller: Caller
    path: str
    key: str | None

    def write(self, fingerprint: object, work: Callable[[Session], Made]) -> Response:
        """Runs `work` in one transaction and answers with what it made; `fingerprint` is the request, JSON-able.

        Raises IdempotencyMismatch for a key that was used with another request, and IdempotencyInFlight while the first
        one with the key runs.
        """
        return self.plan(fingerprint, lambda: work)

    def plan(self, fingerprint: object, prepare: Callable[[], Callable[[Session], Made]]) -> Response:
        """The same, where I/O comes before the transaction: `prepare` does it and returns the transaction's work."""
        if self.key is None:
            alone = prepare()
            return _response(self.database.write(lambda s: self._recorded(s, alone(s))))
        key, digest, now, project = self.key, _digest(fingerprint), clock.now(), self.caller.project
        stored = self.database.write(lambda s: idempotency.begin(s, project, self.path, key, digest, now))
        if stored is not None:
            return Response(stored.body, stored.status, {**stored.headers, "Idempotent-Replayed": "true"})
        try:
            work = prepare()
            return _response(self.database.write(lambda s: self._finish(s, key, self._recorded(s, work(s)))))
        except BaseException:
            self.database.write(lambda s: idempotency.abandon(s, project, self.path, key))
            raise

    def _recorded(self, session: Session, made: Made) -> Made:
        if made.change is not None:
            made.change.record(session, self.caller)
        return made

    def _finish(self, session: Session, key: str, made: Made) -> Made:
        headers = {**made.headers, "Content-Type": "application/json"}
        body = (made.kept or made.model).model_dump_json()
        idempotency.finish(session, self.caller.project, self.path, key, status=made.status, headers=headers, body=body)
        return made


def _response(made: Made) -> Response:
    return Response(made.model.model_dump_json(), made.status, made.headers, "application/json")


def _digest(fingerprint: object) -> str:
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no part of a request")


async def _once(request: Request, services: ServicesDep, caller: CallerDep, key: Key = None) -> Once:
    query = f"?{request.url.query}" if request.url.query else ""
    return Once(services.database, caller, request.url.path + query, key)


OnceDep = Annotated[Once, Depends(_once)]
