"""What a run tells while it goes: metric points at a sensible interval, progress, and scores."""

import time
from datetime import UTC, datetime

from workers.evaluation import Scores
from workers.gradients import Signals
from workers.reporting import Event, Metric, Progress, Reporter

POINTS = 500
"""About how many points of a metric a run reports."""
ALIVE_S = 1.0
"""Progress is told at least this often, steps permitting."""


class Teller:
    """Averages what happens between two points, and posts them."""

    def __init__(self, reporter: Reporter, start: int, steps: int, seconds: float) -> None:
        self._reporter, self._first, self._steps = reporter, start + 1, steps
        self._every = max(1, steps // POINTS)
        self._earlier, self._began = seconds, time.perf_counter()
        self._losses: list[float] = []
        self._since = self._told = self._began

    @property
    def seconds(self) -> float:
        """Time spent training, over all attempts."""
        return self._earlier + time.perf_counter() - self._began

    def step(self, step: int, signals: Signals, lr: float) -> None:
        """After each step; `step` counts those that are done."""
        self._losses.append(signals.loss)
        now = time.perf_counter()
        if step % self._every and step not in (self._first, self._steps):
            self._sign_of_life(step, now)
            return
        each = (now - self._since) / len(self._losses)
        self._point("train_loss", step, sum(self._losses) / len(self._losses))
        self._point("lr", step, lr)
        self._point("grad_norm", step, signals.norm)
        self._point("step_seconds", step, each)
        self._reporter.post(Progress(step, (self._steps - step) * each))
        self._losses, self._since, self._told = [], now, now

    def _sign_of_life(self, step: int, now: float) -> None:
        """Between two points that are far apart: who watches the step counter must see it move."""
        if now - self._told >= ALIVE_S:
            each = (now - self._since) / len(self._losses)
            self._reporter.post(Progress(step, (self._steps - step) * each))
            self._told = now

    def scores(self, step: int, scores: Scores) -> None:
        self._point("val_loss", step, scores.loss)
        text = f"step {step} of {self._steps}: val_loss {scores.loss:.4g}"
        if scores.accuracy is not None:
            self._point("val_accuracy", step, scores.accuracy)
            text += f", val_accuracy {scores.accuracy:.4g}"
        self._reporter.post(Event("progress", text, {"step": step, "of": self._steps, "val_loss": scores.loss}))

    def resume_clock(self) -> None:
        """Time since the last point does not count as training (an evaluation, a checkpoint)."""
        if not self._losses:
            self._since = time.perf_counter()

    def _point(self, name: str, step: int, value: float) -> None:
        self._reporter.post(Metric(name, step, value, datetime.now(UTC)))
