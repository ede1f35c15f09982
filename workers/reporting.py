"""What the training loop tells, and how it is told to stop. The loop knows nothing of who listens. No torch here."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

Stop = Literal["cancel", "pause", "preempt", "timeout", "lost", "resize"]
"""Why an attempt is asked to end: by its user, its machine, its time limit, or because it owns the job no more.

`resize` ends only a group of workers: the attempt goes on with another number of them.
"""

Level = Literal["info", "warning", "error"]
Data = dict[str, str | int | float | None]


@dataclass(frozen=True)
class Metric:
    name: str
    step: int
    value: float
    at: datetime


@dataclass(frozen=True)
class Event:
    type: str
    message: str
    data: Data = field(default_factory=dict)
    level: Level = "info"


@dataclass(frozen=True)
class WarpUse:
    """From `step` on the attempt trains under this version of P; the recorder tells `warp.changed`.

    None: under none, or where `source` is data under a basis from the job's own data, which is no version.
    """

    step: int
    version: int | None
    source: Literal["data"] | None = None


@dataclass(frozen=True)
class Saved:
    """A checkpoint: two safetensors files. `state` is what a resume needs beside the model; a best one has none."""

    step: int
    model: bytes
    state: bytes | None
    val_loss: float | None
    is_best: bool


@dataclass(frozen=True)
class Progress:
    step: int
    eta_s: float | None


@dataclass(frozen=True)
class Outcome:
    """How the loop ended. `stopped` is None where all steps were done; then `final` and `best` are there."""

    step: int
    seconds: float
    stopped: Stop | None = None
    final: dict[str, float] | None = None
    best: dict[str, float] | None = None
    version: int | None = None
    """A published version of P that contains what this job contributed."""


@dataclass(frozen=True)
class Printed:
    """Whole lines that user code printed, bounded by whoever tells them."""

    text: str


Message = Metric | Event | WarpUse | Saved | Progress | Printed


class Reporter(Protocol):
    """Called by the leader only. No call waits for anybody."""

    def post(self, message: Message) -> None: ...

    def stop(self) -> Stop | None:
        """Why the loop should end now; asked once per step."""
        ...


class NullReporter:
    """Nobody listens: dummy runs."""

    def post(self, message: Message) -> None:
        del message

    def stop(self) -> Stop | None:
        return None
