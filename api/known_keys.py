"""Keys that opened their project a moment ago, so that not every request of a busy client asks the database.

A key that was revoked, or a project whose limits were changed, by another process is noticed within `TRUST_S`; by this
one at once (`forget`). A key's end is obeyed to the moment. Only good keys are remembered, by the digest of their
secret, and so many at most: strangers push nobody out.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from threading import Lock

from service import tokens
from service.keys import Known
from service.limits import Limits

TRUST_S = 1.0
"""The contract with whoever revokes a key (docs/api.md)."""
MOST = 10_000


@dataclass(frozen=True)
class Remembered:
    """A key as the database had it at the time `read`, and the limits of its project."""

    known: Known
    limits: Limits
    read: float


@dataclass
class KnownKeys:
    """Of one process; used by the event loop and by threads."""

    clock: Callable[[], float] = time.monotonic
    _by_digest: dict[str, Remembered] = field(default_factory=dict, init=False)
    _age: int = field(default=0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def find(self, secret: str, now: datetime) -> Remembered | None:
        """None: ask the database."""
        digest = tokens.digest(secret)
        found = self._by_digest.get(digest)
        if found is None:
            return None
        ends = found.known.expires_at
        if self.clock() - found.read < TRUST_S and (ends is None or ends > now):
            return found
        return None

    def ask(self, secret: str, read: Callable[[], tuple[Known, Limits]]) -> Remembered:
        """What `read` finds, remembered unless keys were forgotten meanwhile. Raises what it raises."""
        age, began = self._age, self.clock()
        known, limits = read()
        found = Remembered(known, limits, began)
        with self._lock:
            if age == self._age:
                if len(self._by_digest) >= MOST:
                    self._by_digest.clear()
                # Its use is noted once: others that come meanwhile need not note it too.
                self._by_digest[tokens.digest(secret)] = replace(found, known=replace(known, is_use_due=False))
        return found

    def forget(self) -> None:
        """Something about keys has changed: from now on the database is asked again."""
        with self._lock:
            self._age += 1
            self._by_digest.clear()
