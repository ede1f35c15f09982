"""Changes that are no POST: the work and its row in the audit log, in one transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends
from sqlalchemy.orm import Session

from api.deps import CallerDep, ServicesDep
from service import audit, clock
from service.access import Caller
from service.db.session import Database

T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """What the audit log says was done, to what."""

    action: str
    target: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def record(self, session: Session, caller: Caller) -> None:
        audit.record(session, caller, self.action, self.target, self.data, now=clock.now())


@dataclass(frozen=True)
class Changes:
    database: Database
    caller: Caller

    def write(self, change: Change, work: Callable[[Session], T]) -> T:
        def both(session: Session) -> T:
            result = work(session)
            change.record(session, self.caller)
            return result

        return self.database.write(both)


async def _changes(services: ServicesDep, caller: CallerDep) -> Changes:
    return Changes(services.database, caller)


ChangesDep = Annotated[Changes, Depends(_changes)]
