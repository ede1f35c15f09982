"""Programs that somebody has stopped (SIGSTOP, a debugger) and not continued.

Such a program may hold the lock of a database with one writer, as SQLite is, and then nobody can write anything, not
even that its lease is over. So it is ended first, without a word to the database; its end is written then.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from service.processes import is_stopped

LOOKS = 10
"""So often in the time that a program may be stopped: a look at all of a machine's processes is not free."""


@dataclass
class Frost:
    """Which processes have been stopped for longer than they may be."""

    patience_s: float
    clock: Callable[[], float] = time.monotonic
    _since: dict[int, float] = field(default_factory=dict, init=False)
    _looked: float = field(default=float("-inf"), init=False)

    def bitten(self, pids: Iterable[int]) -> list[int]:
        """Those of the processes that were stopped at every look for the whole patience.

        `pids` are only asked for when it is time for a look.
        """
        at = self.clock()
        if at - self._looked < self.patience_s / LOOKS:
            return []
        self._looked, before = at, self._since
        self._since = {pid: before.get(pid, at) for pid in pids if is_stopped(pid)}
        return [pid for pid, since in self._since.items() if at - since >= self.patience_s]
