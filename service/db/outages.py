"""Trouble with the database that passes by itself: it is busy, or it is away and comes back."""

import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError

T = TypeVar("T")

MIN_TRIES = 3
_LONGEST_PAUSE_S = 2.0

_STATES_THAT_PASS = {
    "40001",  # serialization failure
    "40P01",  # deadlock
    "53300",  # too many connections
    "25P03",  # it stood still within a transaction, and was ended
    "55P03",  # a lock was waited for too long
    "57P01",  # the server is told to shut down
    "57P02",  # the server crashed
    "57P03",  # the server starts up or shuts down
}
_STAYS = re.compile("authentication failed|does not exist|pg_hba|could not translate host name|unable to open")


def passes(error: DBAPIError) -> bool:
    """Whether the same work may do better in a moment: no mistake in it, nor in how the database is named."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in _STATES_THAT_PASS
    text = str(error.orig)
    if not isinstance(error, OperationalError) or _STAYS.search(text):
        return False
    # Without a statement it is the connection that could not be made.
    return error.statement is None or "database is locked" in text or "database is busy" in text


def patiently(work: Callable[[], T], patience_s: float) -> T:
    """`work`, again and again with growing pauses while what fails it passes; raises that after `patience_s`."""
    deadline, tries = time.monotonic() + patience_s, 0
    while True:
        tries += 1
        try:
            return work()
        except DBAPIError as error:
            if not passes(error) or (tries >= MIN_TRIES and time.monotonic() > deadline):
                raise
        time.sleep(pause(tries))


def pause(tries: int) -> float:
    """Seconds before the next try: doubled each time, and spread so that not all come back at once."""
    return random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE_S, 0.02 * 2.0 ** min(tries, 10))
