"""What a runner writes about its attempt: every statement is under its fence (LostLease where that is gone).

Checkpoints are stored first, in a thread of their own so that a slow storage costs no heartbeat, and named in the
database once they are durable, in the order in which they were made.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from service import attempts, clock
from service.attempts import Failure, Fence
from service.db.outages import patiently
from service.events import Type
from service.metrics import Point
from workers.failures import Cause
from workers.loading import Memory
from workers.mailbox import Note
from workers.output import Output, Printed
from workers.plan import Plan
from workers.reporting import Event, Metric, Outcome, Progress, Saved, Stop, WarpUse
from workers.reporting import Printed as PrintedByCode
from workers.uploads import Files, Uploads

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST_NOTES = 50_000
"""So much is remembered while the database is away."""
SAVED_AT_ONCE = 4
"""So many checkpoints are named in one transaction: others who write wait for no more than that."""

_EVENT_TYPES: dict[str, Type] = {"progress": "progress", "warning": "warning"}


class Book:
    """The records of one attempt. Used by one thread at a time."""

    def __init__(self, memory: Memory, fence: Fence, output: Output | None = None) -> None:
        """`output`: what this process prints, where it can be read."""
        self._memory, self._fence, self._output = memory, fence, output
        self._model: dict[str, Any] | None = None
        self._progress: Progress | None = None
        self._newest: Saved | None = None
        self._elastic_workers: int | None = None
        """How many train at present, where that may change."""
        self._deadline: float | None = None
        self._notes: list[Note] = []
        self._uploads = Uploads(self._store)
        self._forgotten = 0

    def begin(self, plan: Plan, step: int) -> None:
        """The attempt trains from `step` on; its time limit counts from here."""
        self._model = dict(plan.model)
        used = self._patiently(lambda session: self._start(session, step, plan.workers))
        if plan.spec.timeout_s is not None:
            self._deadline = time.monotonic() + plan.spec.timeout_s - used
        self.go_on(plan)

    def _start(self, session: Session, step: int, workers: int) -> float:
        now = clock.now()
        used = attempts.running_seconds(session, self._fence.job_id, now)
        attempts.start(session, self._fence, start_step=step, pid=os.getpid(), now=now)
        attempts.begin_group(session, self._fence, step=step, workers=workers, now=now)
        return used

    def go_on(self, plan: Plan) -> None:
        """From here on another group of workers trains, which is in the database already."""
        self._progress = None
        self._elastic_workers = plan.workers if plan.is_elastic else None

    @property
    def newest(self) -> Saved | None:
        """The last checkpoint of an elastic job from which another group can go on."""
        return self._newest

    def take(self, notes: Sequence[Note]) -> None:
        """What the loop told; the next beat that succeeds writes it."""
        for note in notes:
            if isinstance(note, Saved):
                self._uploads.add(note)
                if self._elastic_workers is not None and note.state is not None:
                    self._newest = note
            elif isinstance(note, Progress):
                self._progress = note
            elif isinstance(note, PrintedByCode):
                sys.stderr.write(note.text)  # so it is where all that the attempt prints is, and kept like it
                sys.stderr.flush()
            else:
                self._notes.append(note)
        if len(self._notes) > MOST_NOTES:
            self._forget()

    def _forget(self) -> None:
        """The database is away for long: the oldest metrics give way, and that is told."""
        metrics = [note for note in self._notes if isinstance(note, Metric)]
        gone = {id(note) for note in metrics[: len(self._notes) - MOST_NOTES // 2]}
        self._notes = [note for note in self._notes if id(note) not in gone]
        self._forgotten += len(gone)

    def beat(self) -> Stop | None:
        """Records what was taken, renews the lease, and reads what the user wants."""
        stored = self._uploads.durable()
        self._notes += self._uploads.told()
        if self._forgotten:
            text = f"{self._forgotten} points of metrics were not kept, because the database was away"
            self._notes, self._forgotten = [*self._notes, Event("warning", text, level="warning")], 0
        stop = self._record(stored[:SAVED_AT_ONCE], self._output.peek() if self._output else None)
        while stored := stored[SAVED_AT_ONCE:]:
            stop = self._record(stored[:SAVED_AT_ONCE], None)
        if stop is None and self._deadline is not None and time.monotonic() > self._deadline:
            return "timeout"
        return stop

    def _record(self, stored: Sequence[tuple[Saved, Files]], printed: Printed | None) -> Stop | None:
        """One transaction; what it wrote is then remembered no longer."""

        def work(session: Session) -> Stop | None:
            stop = self._write(session, self._notes, stored)
            self._keep(session, printed)
            return stop

        stop = self._memory.database.write(work)
        if self._output and printed:
            self._output.advance(printed)
        self._notes = []
        self._uploads.drop(len(stored))
        return stop

    @property
    def is_settled(self) -> bool:
        """Whether everything that was taken is written."""
        return not (self._uploads or self._notes)

    def settle(self, seconds: float) -> None:
        """Waits, so long at most, until the first upload has ended; the next beat publishes it, or begins it anew."""
        self._uploads.settle(seconds)

    @property
    def step(self) -> int | None:
        """The last step that the loop told of; None: it has not begun."""
        return self._progress.step if self._progress else None

    def finish(self, ending: Outcome | Cause) -> None:
        """The attempt's last word, and with it the last that it printed: a log is whole when its job has ended.

        A database that is away is waited for: a trained job is not trained again for it.
        """
        printed = self._output.peek(last=True) if self._output else None

        def work(session: Session) -> None:
            self._keep(session, printed)
            self._finish(session, ending)

        self._patiently(work)

    def _patiently(self, work: Callable[[Session], T]) -> T:
        """A write that waits longer than others for a database that is away."""
        patience_s = self._memory.settings.database_patience_s
        return patiently(lambda: self._memory.database.write(work), patience_s)

    def _keep(self, session: Session, printed: Printed | None) -> None:
        if printed is not None:
            most = self._memory.settings.max_log_bytes
            attempts.add_log(session, self._fence, printed.start, printed.data, most=most)

    def close(self) -> None:
        self._uploads.close()
        if self._output is not None:
            self._output.close()

    def _store(self, saved: Saved) -> Files:
        storage = self._memory.storage
        state = storage.put("checkpoints", saved.state) if saved.state is not None else None
        return storage.put("checkpoints", saved.model), state

    def _write(self, session: Session, notes: Sequence[Note], stored: Sequence[tuple[Saved, Files]]) -> Stop | None:
        now, fence = clock.now(), self._fence
        progress = self._progress
        intent = attempts.heartbeat(
            session,
            fence,
            now=now,
            lease_s=self._memory.settings.lease_s,
            step=progress.step if progress else None,
            eta_s=progress.eta_s if progress else None,
        )
        points = [Point(note.name, note.step, note.value, note.at) for note in notes if isinstance(note, Metric)]
        if points:
            attempts.add_metrics(session, fence, points)
        for note in notes:
            if isinstance(note, WarpUse):
                attempts.add_warp(session, fence, note.step, note.version, note.source)
            elif isinstance(note, Event):
                attempts.add_event(session, fence, _EVENT_TYPES[note.type], note.level, note.message, dict(note.data))
        for saved, (model, state) in stored:
            attempts.publish_checkpoint(
                session,
                fence,
                step=saved.step,
                stored=model,
                state=state,
                val_loss=saved.val_loss,
                is_best=saved.is_best,
                model=self._model,
                now=now,
            )
        if intent is None and self._elastic_workers is not None:
            return None if attempts.granted(session, fence) == self._elastic_workers else "resize"
        return intent

    def _finish(self, session: Session, ending: Outcome | Cause) -> None:
        now, fence = clock.now(), self._fence
        if isinstance(ending, Outcome) and ending.stopped is None:
            result = {"steps": ending.step, "seconds": ending.seconds, "final": ending.final, "best": ending.best}
            attempts.finish(session, fence, outcome="succeeded", result=result, now=now)
        elif isinstance(ending, Outcome) and ending.stopped in ("cancel", "pause"):
            outcome: attempts.Outcome = "cancelled" if ending.stopped == "cancel" else "paused"
            attempts.finish(session, fence, outcome=outcome, now=now)
        else:
            cause = ending if isinstance(ending, Cause) else _cause(ending)
            failure = Failure(cause.category, cause.code, cause.message, cause.retryable)
            attempts.finish(session, fence, outcome="failed", failure=failure, now=now)


def _cause(outcome: Outcome) -> Cause:
    """Why an attempt that was stopped, and not by its user, failed."""
    if outcome.stopped == "timeout":
        message = f"The job reached its timeout_s at step {outcome.step}: allow it more time, or train fewer steps."
        return Cause("user", "timeout", message)
    return Cause("preemption", "preempted", f"The machine asked the attempt to end at step {outcome.step}.")
