"""When a family's statistics are solved: in one thread, at most every so often, and at once on demand.

Whoever demands a version waits for it here; nobody else ever waits for a solve. Demands that arrive during one solve
share the next.
"""

import logging
import threading
import time
from collections.abc import Callable

from service.learning import StaleEpochError
from workers.meta.core import Snapshot

logger = logging.getLogger(__name__)

TIDY_EVERY_S = 5.0


class Publisher:
    """Calls `publish(snapshot())` when it is due, and `tidy()` now and then; both only ever in its own thread.

    `published`: the generation that the newest version contains. `age_s`: how long ago that version was made.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        publish: Callable[[Snapshot], None],
        tidy: Callable[[], None],
        *,
        every_s: float,
        published: int,
        age_s: float,
    ) -> None:
        self._snapshot, self._publish, self._tidy = snapshot, publish, tidy
        self._every_s = every_s
        self._published = published
        self._applied = self._demanded = 0
        self._due_at = time.monotonic() + every_s - age_s
        self._tidy_at = time.monotonic()
        self._tries = 0
        self._failure: tuple[int, Exception] | None = None
        self._ended: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        self._applied = self._snapshot().generation
        self._thread.start()

    def close(self) -> None:
        """Ends the thread after what it is doing; those who wait get an error."""
        self._end(RuntimeError("the meta-learner is being closed"))
        self._thread.join()

    def check(self) -> None:
        """Raises what ended the thread, if something did."""
        if self._ended is not None:
            raise self._ended

    def notice(self, generation: int) -> None:
        """There are contributions up to this generation: they are published when it is time."""
        with self._changed:
            self._applied = max(self._applied, generation)
            self._changed.notify_all()

    def demand(self, generation: int) -> None:
        """Returns once a version contains this generation; raises what kept it from being made."""
        with self._changed:
            first = self._tries + 1
            self._applied = max(self._applied, generation)
            self._demanded = max(self._demanded, generation)
            self._changed.notify_all()
            while self._published < generation:
                self.check()
                if self._failure is not None and self._failure[0] >= first:
                    raise self._failure[1]
                self._changed.wait()

    def _run(self) -> None:
        try:
            while self._wait():
                if self._is_due():
                    self._try()
                if time.monotonic() >= self._tidy_at:
                    self._tidy_at = time.monotonic() + TIDY_EVERY_S
                    self._tidy_up()
        except StaleEpochError as error:
            self._end(error)

    def _wait(self) -> bool:
        """Until there is something to do; False when it is over."""
        with self._changed:
            while self._ended is None and not self._is_due() and time.monotonic() < self._tidy_at:
                due_at = self._due_at if self._applied > self._published else self._tidy_at
                self._changed.wait(max(0.0, min(due_at, self._tidy_at) - time.monotonic()))
            return self._ended is None

    def _is_due(self) -> bool:
        waiting = self._applied > self._published and time.monotonic() >= self._due_at
        return waiting or self._demanded > self._published

    def _try(self) -> None:
        with self._changed:
            self._tries += 1
            self._demanded = 0  # this try answers them, one way or the other; what comes meanwhile asks for the next
        snapshot = self._snapshot()
        try:
            self._publish(snapshot)
        except StaleEpochError:
            raise
        except Exception as error:  # the old version stays, whoever waits is told, and it is tried again in time
            logger.exception("no version could be published")
            with self._changed:
                self._failure = (self._tries, error)
                self._due_at = time.monotonic() + max(self._every_s, 1.0)
                self._changed.notify_all()
            return
        with self._changed:
            self._published = snapshot.generation
            self._due_at = time.monotonic() + self._every_s
            self._changed.notify_all()

    def _tidy_up(self) -> None:
        try:
            self._tidy()
        except StaleEpochError:
            raise
        except Exception:
            logger.exception("ended jobs could not be folded; it is tried again")

    def _end(self, error: Exception) -> None:
        with self._changed:
            self._ended = self._ended or error
            self._changed.notify_all()
