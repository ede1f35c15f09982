"""What a runner writes about its attempt: every statement is under its fence (LostLease where that is gone).

Checkpoints are stored first, in a thread of their own so that a slow storage costs no heartbeat, and named in the
database once they are durable, in the order in which they were made.
"""

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from sqlalchemy.orm import Session

from service import attempts, clock
from service.attempts import Failure, Fence
from service.events import Type
from service.metrics import Point
from service.storage import Stored
from workers.failures import Cause
from workers.loading import Memory
from workers.mailbox import Note
from workers.patience import when_there
from workers.plan import Plan
from workers.reporting import Event, Metric, Outcome, Progress, Saved, Stop, WarpUse

log = logging.getLogger(__name__)

_EVENT_TYPES: dict[str, Type] = {"progress": "progress", "warning": "warning"}

Upload = Future[tuple[Stored, Stored | None]]


class Book:
    """The records of one attempt. Used by one thread at a time."""

    def __init__(self, memory: Memory, fence: Fence) -> None:
        self._memory, self._fence = memory, fence
        self._model: dict[str, Any] | None = None
        self._progress: Progress | None = None
        self._deadline: float | None = None
        self._notes: list[Note] = []
        self._uploads: deque[tuple[Saved, Upload]] = deque()
        self._uploader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")

    def begin(self, plan: Plan, step: int) -> None:
        """The attempt trains from `step` on; its time limit counts from here."""
        self._model = dict(plan.model)
        used = when_there(lambda: self._memory.database.write(lambda session: self._start(session, step)))
        if plan.spec.timeout_s is not None:
            self._deadline = time.monotonic() + plan.spec.timeout_s - used

    def _start(self, session: Session, step: int) -> float:
        used = attempts.running_seconds(session, self._fence.job_id, clock.now())
        attempts.start(session, self._fence, start_step=step, pid=os.getpid(), now=clock.now())
        return used

    def take(self, notes: Sequence[Note]) -> None:
        """What the loop told; the next beat that succeeds writes it."""
        for note in notes:
            if isinstance(note, Saved):
                self._uploads.append((note, self._uploader.submit(self._store, note)))
            elif isinstance(note, Progress):
                self._progress = note
            else:
                self._notes.append(note)

    def beat(self) -> Stop | None:
        """Records what was taken, renews the lease, and reads what the user wants."""
        stored = self._stored()
        stop = self._memory.database.write(lambda session: self._write(session, self._notes, stored))
        self._notes = []
        for _ in stored:
            self._uploads.popleft()
        if stop is None and self._deadline is not None and time.monotonic() > self._deadline:
            return "timeout"
        return stop

    @property
    def is_settled(self) -> bool:
        """Whether everything that was taken is written."""
        return not (self._uploads or self._notes)

    def settle(self, seconds: float) -> None:
        """Waits, so long at most, until an upload is done; the next beat publishes it. Raises what kept it from it."""
        if self._uploads:
            _, upload = self._uploads[0]
            with suppress(TimeoutError):
                upload.result(seconds)

    @property
    def step(self) -> int | None:
        """The last step that the loop told of; None: it has not begun."""
        return self._progress.step if self._progress else None

    def finish(self, ending: Outcome | Cause) -> None:
        """The attempt's last word. A database that is away is waited for: a trained job is not trained again for it."""
        when_there(lambda: self._memory.database.write(lambda session: self._finish(session, ending)))

    def close(self) -> None:
        self._uploader.shutdown(wait=False, cancel_futures=True)

    def _store(self, saved: Saved) -> tuple[Stored, Stored | None]:
        storage = self._memory.storage
        state = storage.put("checkpoints", saved.state) if saved.state is not None else None
        return storage.put("checkpoints", saved.model), state

    def _stored(self) -> list[tuple[Saved, Stored, Stored | None]]:
        """Those at the head of the queue that are durable; an upload that failed is begun anew."""
        done: list[tuple[Saved, Stored, Stored | None]] = []
        for place, (saved, upload) in enumerate(self._uploads):
            if not upload.done():
                break
            if (error := upload.exception()) is not None:
                log.warning("the checkpoint of step %s was not stored, trying again: %s", saved.step, error)
                self._uploads[place] = (saved, self._uploader.submit(self._store, saved))
                break
            done.append((saved, *upload.result()))
        return done

    def _write(
        self, session: Session, notes: Sequence[Note], stored: Sequence[tuple[Saved, Stored, Stored | None]]
    ) -> Stop | None:
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
        for saved, model, state in stored:
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
