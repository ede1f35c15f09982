"""Judging attempts by this process's own clock: no step of anybody's time of day costs a healthy attempt its lease.

A lease is renewed with every heartbeat, so it is what it says that counts as a sign of life, not when it says it ends.
After a time in which nobody could have renewed one (the database was away), everything is forgotten and seen anew.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from service.attempts import Fence, Living

SECOND_LOOK_S = 5.0
"""A lease that is over when it is first seen gets so long for a heartbeat: the machine may have slept."""
LONGEST_LOOK_S = 1.0
"""A look that took longer was held up by something; much less than the above."""


@dataclass
class Attention:
    """A clock that counts at most `LONGEST_LOOK_S` from one `look` to the next.

    Who could not look for long waited for the database, or was stopped itself; then nobody may have been able to renew
    a lease, or to hear what is wanted, and is not to be judged by that time.
    """

    clock: Callable[[], float] = time.monotonic
    _seen: float | None = field(default=None, init=False)
    _at: float = field(default=0.0, init=False)

    def look(self) -> None:
        now = self.clock()
        if self._seen is not None:
            self._at += min(now - self._seen, LONGEST_LOOK_S)
        self._seen = now

    def __call__(self) -> float:
        return self._at


@dataclass
class LeaseWatch:
    lease_s: float
    start_s: float
    """Before the attempt runs: its program is still being loaded."""
    clock: Callable[[], float] = time.monotonic
    _seen: dict[Fence, tuple[datetime | None, float]] = field(default_factory=dict, init=False)
    """By attempt: its lease, and since when it says the same."""

    def lost(self, living: Iterable[Living], now: datetime) -> list[Living]:
        """Those whose lease was not renewed for its whole length, or not any more since it ended."""
        at, before = self.clock(), self._seen
        self._seen, found = {}, []
        for each in living:
            lease, since = before.get(each.fence, (each.lease_until, at))
            since = since if lease == each.lease_until else at
            self._seen[each.fence] = (each.lease_until, since)
            length = self.start_s if each.starts else self.lease_s
            over = each.lease_until is None or each.lease_until < now
            patience = min(SECOND_LOOK_S, length) if over else length
            if at - since >= patience:
                found.append(each)
        return found

    def forget(self) -> None:
        self._seen.clear()


@dataclass
class Obedience:
    """Since when attempts have been asked to stop; who does not within the grace is ended."""

    grace_s: float
    clock: Callable[[], float] = time.monotonic
    _asked: dict[Fence, float] = field(default_factory=dict, init=False)

    def overdue(self, living: Iterable[Living]) -> list[Living]:
        at, before = self.clock(), self._asked
        asked = [each for each in living if each.intent is not None]
        self._asked = {each.fence: before.get(each.fence, at) for each in asked}
        return [each for each in asked if at - self._asked[each.fence] >= self.grace_s]
