"""Checkpoints on their way to the storage: off the training step, one after the other, until the storage has them.

A storage that fails or is slow costs no step and ends no run: an upload is tried again after a wait, and the job's
readers are told once when that begins and once when it is over. What waits is bounded: of several checkpoints the best
and the newest are kept, and readers are told which were not stored.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from service.storage import Stored
from workers.backoff import backoff
from workers.reporting import Event, Saved

log = logging.getLogger(__name__)

Files = tuple[Stored, Stored | None]
"""The model's state, and what a resume needs beside it."""

MOST_WAITING = 4
"""So many checkpoints wait in memory."""
FIRST_WAIT_S, LAST_WAIT_S = 0.5, 10.0
PATIENCE_S = 600.0
"""At its end a run waits so long for a storage that fails; then another attempt goes on from the last checkpoint."""


class Uploads:
    """Used by one thread at a time; the uploads themselves are in a thread of their own."""

    def __init__(self, store: Callable[[Saved], Files]) -> None:
        """`store` makes the files of a checkpoint durable; it may raise and is then called again."""
        self._store = store
        self._waiting: deque[tuple[Saved, Future[Files]]] = deque()
        self._failures = 0
        self._failing_since: float | None = None
        self._told: list[Event] = []
        self._closing = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, saved: Saved) -> None:
        self._waiting.append((saved, self._thread.submit(self._store, saved)))
        while len(self._waiting) > MOST_WAITING and self._shed():
            pass

    def durable(self) -> list[tuple[Saved, Files]]:
        """Those at the head that the storage has, in order; `drop` them once they are recorded."""
        done: list[tuple[Saved, Files]] = []
        for place, (saved, upload) in enumerate(self._waiting):
            if not upload.done():
                break
            if (error := upload.exception()) is not None:
                self._waiting[place] = (saved, self._again(saved, error))
                break
            done.append((saved, upload.result()))
        if done and self._failures:
            self._tell(f"the storage works again: the checkpoint of step {done[-1][0].step} is stored", "info")
            self._failures, self._failing_since = 0, None
        return done

    def drop(self, count: int) -> None:
        for _ in range(count):
            self._waiting.popleft()

    def told(self) -> list[Event]:
        """What readers are to be told since the last call."""
        told, self._told = self._told, []
        return told

    def settle(self, seconds: float | None = None) -> None:
        """Waits until the first upload has ended, one way or the other; so long at most.

        Raises what keeps it from the storage once that has lasted for `PATIENCE_S`.
        """
        if not self._waiting:
            return
        try:
            self._waiting[0][1].result(seconds)
        except TimeoutError:
            return
        except Exception:
            if self._failing_since is not None and time.monotonic() - self._failing_since > PATIENCE_S:
                raise

    def close(self) -> None:
        self._closing.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _again(self, saved: Saved, error: BaseException) -> Future[Files]:
        self._failures += 1
        wait = backoff(self._failures, FIRST_WAIT_S, LAST_WAIT_S)
        log.warning("the checkpoint of step %s was not stored, again in %.0f s: %s", saved.step, wait, error)
        if self._failures == 1:
            self._failing_since = time.monotonic()
            self._tell(f"the checkpoint of step {saved.step} is not stored yet, and is tried again: {error}", "warning")

        def later() -> Files:
            self._closing.wait(wait)
            return self._store(saved)

        return self._thread.submit(later)

    def _shed(self) -> bool:
        """Gives one up that has not begun and that newer ones make needless; whether there was one."""
        saved = [each for each, _ in self._waiting]
        best = next((each for each in reversed(saved) if each.is_best), None)
        newest = next((each for each in reversed(saved) if each.state is not None), None)
        for entry in list(self._waiting)[1:]:
            if entry[0] is not best and entry[0] is not newest and entry[1].cancel():
                self._waiting.remove(entry)
                self._tell(f"the checkpoint of step {entry[0].step} was not stored: the storage is too slow", "warning")
                return True
        return False

    def _tell(self, text: str, level: str) -> None:
        self._told.append(Event("warning", text, level="warning" if level == "warning" else "info"))
