"""Whether meta-learners answer: one that hangs holds up all jobs of its family, and Ray restarts only what ended."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

PATIENCE_S = 300.0
"""It answers once it has read its ledger, and a long one takes a while; less than jobs wait for an answer."""

Answered = Callable[[], bool]


@dataclass
class Pulse:
    """One question at a time to each. Who does not answer is named, and gets twice as long the next time."""

    ask: Callable[[int], Answered]
    """Sends a family's meta-learner a question; what it returns says whether the answer has come."""
    patience_s: float = PATIENCE_S
    clock: Callable[[], float] = time.monotonic
    _asked: dict[int, tuple[float, Answered]] = field(default_factory=dict, init=False)
    _patience: dict[int, float] = field(default_factory=dict, init=False)

    def silent(self, families: Iterable[int]) -> list[int]:
        """Asks these, and forgets all others; those of them that are to be restarted."""
        before, self._asked = self._asked, {}
        return [family for family in families if self._is_silent(family, before.get(family))]

    def _is_silent(self, family: int, asked: tuple[float, Answered] | None) -> bool:
        patience = self._patience.get(family, self.patience_s)
        if asked is None:
            self._asked[family] = (self.clock(), self.ask(family))
        elif asked[1]():
            self._patience.pop(family, None)
        elif self.clock() - asked[0] >= patience:
            self._patience[family] = 2 * patience
            return True
        else:
            self._asked[family] = asked
        return False

    def forget(self) -> None:
        """There is another Ray now, or none."""
        self._asked.clear()
