"""The runner's heartbeat: a thread that carries what the loop tells to the book, and what the user wants to the loop.

Whatever goes wrong with the database costs no training: what was told is written with the next beat that succeeds.
Only the loss of the lease ends the attempt, quietly.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from service.attempts import LostLease
from workers.mailbox import Ended, Failed, Note, Source
from workers.reporting import Stop

log = logging.getLogger(__name__)


class Records(Protocol):
    """What the recorder needs of `Book`."""

    def take(self, notes: Sequence[Note]) -> None: ...

    def beat(self) -> Stop | None: ...

    @property
    def is_settled(self) -> bool: ...

    def settle(self) -> None: ...


class Recorder:
    """Begin with `start`, end with `drain`, which writes everything that was told, or with `close`."""

    def __init__(self, records: Records, source: Source, beat_s: float) -> None:
        self._records, self._source, self._beat_s = records, source, beat_s
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

    def ask(self, stop: Stop) -> None:
        """Asks the loop to stop; safe in a signal handler. The first reason stands."""
        self._asked = self._asked or stop
        self._wake.set()

    @property
    def asked(self) -> Stop | None:
        return self._asked

    def drain(self) -> list[Ended | Failed]:
        """Ends the thread, writes all that is left, checkpoints too; the workers' last words."""
        self.close()
        self._beat()
        while not self._records.is_settled:
            self._records.settle()
            self._beat()
        return self._words

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
                self._beat()
            except LostLease as error:
                log.warning("%s: this attempt ends", error)
                self.lost = True
                self._tell("lost")
                return
            except Exception:
                log.exception("this beat was not recorded; what it had is kept for the next")
            self._wake.wait(max(0.0, began + self._beat_s - time.monotonic()))
            self._wake.clear()

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
        self._asked = self._asked or stop
        self._source.tell(self._asked)
