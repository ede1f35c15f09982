"""Work that only one process may do at a time, whichever of several dispatchers or services it belongs to."""

from enum import IntEnum

from sqlalchemy import text
from sqlalchemy.orm import Session

_CLASS = 0x57A2
"""The first half of the locks' names on PostgreSQL; the migrations' lock is none of these."""


class Lock(IntEnum):
    ADMISSION = 1
    """What is reserved is counted and a job is claimed beside it: two at once would both count the same room."""


def take_turns(session: Session, lock: Lock) -> None:
    """Waits until no other transaction has the lock, and has it until this one ends.

    On SQLite a writing transaction is alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:class, :lock)"), {"class": _CLASS, "lock": int(lock)})
