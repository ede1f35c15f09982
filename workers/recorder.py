"""The runner's heartbeat: a thread that carries what the loop tells to the book, and what the user wants to the loop.

Whatever goes wrong with the database costs no training: what was told is written with the next beat that succeeds.
The loss of the lease ends the attempt, quietly; a loop that does not hear is ended from here (workers/oversight.py).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from service.attempts import LostLease
from workers.backoff import backoff
from workers.failures import Cause, WorkersLostError
from workers.mailbox import Ended, Failed, Inbox, Note, Source
from workers.oversight import Oversight
from workers.reporting import Outcome, Stop

log = logging.getLogger(__name__)


class Records(Protocol):
    """What the recorder needs of `Book`."""

    def take(self, notes: Sequence[Note]) -> None: ...

    def beat(self) -> Stop | None: ...

    @property
    def is_settled(self) -> bool: ...

    def settle(self, seconds: float) -> None: ...

    @property
    def step(self) -> int | None: ...


PATIENCE_S = 600.0
"""What was told is written for so long, whatever the database and the storage say, before the attempt gives up."""

HEAR_S = 0.1
"""Between two looks for the last words of workers."""

End = Callable[[Outcome | Cause], None]
"""Records how the attempt ended, and ends this process: called from the heartbeat's thread."""


class Recorder:
    """Begin with `start`, end with `drain`, which writes everything that was told, or with `close`."""

    def __init__(
        self,
        records: Records,
        source: Source,
        beat_s: float,
        oversight: Oversight | None = None,
        end: End | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._records, self._source, self._beat_s = records, source, beat_s
        self._oversight, self._end, self._patience_s = oversight, end, patience_s
        self._words: list[Ended | Failed] = []
        self._asked: Stop | None = None
        self._wake, self._over = threading.Event(), threading.Event()
        self._beating = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self.lost = False

    def start(self) -> None:
        self._thread.start()

    def listen(self, source: Source) -> None:
        """From here on the loop speaks through this source."""
        with self._beating:
            self._take()
            self._source = source
            if self._asked:
                source.tell(self._asked)

    def hear_out(self, patience_s: float) -> list[Ended | Failed]:
        """The last words of the workers that have ended, which are waited for so long, and forgotten here; their source
        with them. May raise WorkersLostError."""
        deadline = time.monotonic() + patience_s
        while True:
            with self._beating:
                self._take()
                if self._words or time.monotonic() >= deadline:
                    words, self._words, self._source = self._words, [], Inbox()
                    return words
            time.sleep(HEAR_S)

    def ask(self, stop: Stop) -> None:
        """Asks the loop to stop; safe in a signal handler. The first reason stands."""
        self._asked = self._asked or stop
        self._wake.set()

    @property
    def asked(self) -> Stop | None:
        return self._asked

    def drain(self) -> list[Ended | Failed]:
        """Ends the thread, writes all that is left, checkpoints too; last words that nobody heard yet.

        It beats on meanwhile, so that a slow storage costs no lease, and tries again where something failed.
        """
        self.close()
        deadline, failures = time.monotonic() + self._patience_s, 0
        while True:
            try:
                self._beat()
                if self._records.is_settled:
                    return self._words
                self._records.settle(self._beat_s)
                failures = 0
            except (LostLease, WorkersLostError):
                raise
            except Exception as error:
                if time.monotonic() > deadline:
                    raise
                failures += 1
                log.warning("not everything is recorded yet, trying again: %s", error)
                time.sleep(backoff(failures, 0.1, 5.0))

    def save(self, patience_s: float) -> None:
        """From the heartbeat's thread, before it ends the attempt: waits so long at most until what the loop told is
        written, and its checkpoints with it. It beats meanwhile. Raises LostLease."""
        deadline = time.monotonic() + patience_s
        while not self._records.is_settled and time.monotonic() < deadline:
            self._records.settle(min(self._beat_s, max(0.0, deadline - time.monotonic())))
            try:
                with self._beating:
                    self._records.beat()
            except LostLease:
                raise
            except Exception as error:
                log.warning("not everything is recorded yet, trying again: %s", error)
                time.sleep(HEAR_S)

    def close(self) -> None:
        """Ends the thread."""
        self._over.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            try:
                if not self.lost:
                    self._beat()
            except LostLease as error:
                log.warning("%s: this attempt ends", error)
                self.lost = True
                self._tell("lost")
            except WorkersLostError as error:
                self._finish(error.cause)
            except Exception:
                log.exception("this beat was not recorded; what it had is kept for the next")
            self._oversee()
            self._wake.wait(max(0.0, began + self._beat_s - time.monotonic()))
            self._wake.clear()

    def _oversee(self) -> None:
        if self._oversight is None or self._words:
            return
        ending = self._oversight.judge(time.monotonic(), self._records.step, self._asked)
        if ending is not None:
            self._finish(ending)

    def _finish(self, ending: Outcome | Cause) -> None:
        """The loop has no say any more, unless it has just ended by itself."""
        if self._end is not None and not self._over.is_set():
            log.warning("this attempt is ended from outside its loop: %s", ending)
            self._end(ending)

    def _beat(self) -> None:
        with self._beating:
            if self._asked:
                self._source.tell(self._asked)
            self._take()
            stop = self._records.beat()
            if stop is not None:
                self._tell(stop)

    def _take(self) -> None:
        notes = self._source.drain()
        self._words += [note for note in notes if isinstance(note, Ended | Failed)]
        self._records.take([note for note in notes if not isinstance(note, Ended | Failed)])

    def _tell(self, stop: Stop) -> None:
        """`resize` is of the present group alone."""
        if stop != "resize":
            self._asked = self._asked or stop
        self._source.tell(self._asked or stop)
