"""What a runner does where the database is away: it waits, for what was trained is worth more than the wait."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from workers.policies import backoff

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S = 600.0
FIRST_WAIT_S, LAST_WAIT_S = 0.2, 5.0


def when_there(work: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What `work` returns; it runs again, with a wait between, while the database is away. Then raises what that says.

    A commit whose answer got lost may have been one: `work` must bear being done twice, as all that is fenced does.
    """
    deadline, failures = time.monotonic() + patience_s, 0
    while True:
        try:
            return work()
        except (OperationalError, InterfaceError, PoolTimeoutError) as error:
            if time.monotonic() > deadline:
                raise
            failures += 1
            log.warning("the database is away (try %d), waiting for it: %s", failures, str(error).splitlines()[0])
            time.sleep(backoff(failures, FIRST_WAIT_S, LAST_WAIT_S))
