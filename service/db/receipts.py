"""How a process learns whether a commit took place whose answer it never got.

Where the connection breaks during COMMIT, the transaction may have been committed or not. Doing its work again could do
it twice, and not doing it could lose it. So each connection to PostgreSQL has a row of its own, and every writing
transaction puts its number there: after reconnecting, the row says which one was the last. SQLite's commits answer.
"""

import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Connection, Engine, delete, insert, select, text
from sqlalchemy.orm import Session

from service import clock
from service.db.models import Receipt as Row
from service.db.upsert import upsert

RENEW_S = 6 * 3600.0
KEPT = timedelta(days=1)
"""A row is not asked for after so long; its connection has long had another one."""

_KEY = "warpadam.receipt"


@dataclass
class Receipt:
    """What one connection signs its transactions with."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    sequence: int = 0
    made: float = field(default_factory=time.monotonic)


def of(connection: Connection) -> Receipt | None:
    """The connection's own; None where none is needed. Outside of transactions, because it may have to commit it."""
    if connection.dialect.name != "postgresql":
        return None
    found: Receipt | None = connection.info.get(_KEY)
    if found is None or time.monotonic() - found.made > RENEW_S:
        found = Receipt()
        _make(connection, found)
        connection.info[_KEY] = found
    return found


def _make(connection: Connection, receipt: Receipt) -> None:
    """It is committed before it is used: a row that is being inserted could not be waited for."""
    now = clock.now()
    connection.execute(insert(Row).values(id=receipt.id, sequence=0, at=now))
    old = select(Row.id).where(Row.at < now - KEPT).with_for_update(skip_locked=True)
    connection.execute(delete(Row).where(Row.id.in_(old)))
    connection.commit()


def sign(session: Session, receipt: Receipt) -> None:
    """Numbers the session's transaction; the last statement before its commit."""
    receipt.sequence += 1
    upsert(session, Row, [{"id": receipt.id, "sequence": receipt.sequence, "at": clock.now()}])


def is_committed(engine: Engine, receipt: Receipt) -> bool:
    """Whether the transaction that was signed last took place; waits for one that is still under way."""
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        last = connection.scalar(select(Row.sequence).where(Row.id == receipt.id).with_for_update())
    return last is not None and last >= receipt.sequence
