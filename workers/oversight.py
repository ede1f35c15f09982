"""When an attempt must be ended from outside its training loop: pure, but for the clock that it is given.

The loop is asked first. It is ended hard where it does not obey within the grace, where its step counter stands still,
and at once where it has not begun, for then there is nothing to save.
"""

from dataclasses import dataclass, field

from workers.failures import Cause
from workers.reporting import Outcome, Stop

SLOWEST_STEPS = 10
"""A step may take this many times as long as the slowest before it, whatever the limit."""


@dataclass
class Oversight:
    """Told at each beat what is known of the loop. Seconds are monotonic."""

    grace_s: float
    stall_s: float
    began: float
    needs_begin: bool = False
    """Whether the loop hears nothing before its first step: workers that are still being placed."""
    runs_code: bool = False
    """Whether the loop runs user code, whose fault it is then where it stands still."""
    _step: int | None = field(default=None, init=False)
    _moved: float = field(default=0.0, init=False)
    _slowest: float = field(default=0.0, init=False)
    _asked: float | None = field(default=None, init=False)

    def judge(self, now: float, step: int | None, asked: Stop | None) -> Outcome | Cause | None:
        """How the attempt is to be recorded, where it is to be ended now."""
        self._notice(now, step)
        if asked is not None:
            self._asked = now if self._asked is None else self._asked
            if now - self._asked >= self.grace_s or (self.needs_begin and step is None):
                return Outcome(step or 0, 0.0, stopped=asked)
            return None
        still = now - self._moved
        if still < max(self.stall_s, SLOWEST_STEPS * self._slowest):
            return None
        where = "before its first step" if step is None else f"at step {step}"
        if self.runs_code:
            return Cause(
                "user",
                "stalled",
                f"Your code stood still {where} for {still:.0f} s: look for a loop without end or a lock in it. If its "
                "steps take longer than WARPADAM_STALL_S, that can be raised.",
            )
        return Cause(
            "infrastructure",
            "stalled",
            f"The attempt stood still {where} for {still:.0f} s. If its steps take longer than WARPADAM_STALL_S, "
            "raise that; else look for a storage or a peer that does not answer.",
        )

    def _notice(self, now: float, step: int | None) -> None:
        if self._moved == 0.0:
            self._moved = self.began
        if step is None or step == self._step:
            return
        if self._step is not None and step > self._step:
            self._slowest = max(self._slowest, (now - self._moved) / (step - self._step))
        self._step, self._moved = step, now
