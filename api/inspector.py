"""The thread of an API process that inspects what was uploaded and answered before it was looked at."""

import logging
import threading

from service.db.session import Database
from service.inspecting import Inspector
from service.settings import Settings
from service.storage import Storage

POLL_S = 5.0
"""How often to look for datasets that another process took in, or left."""

_log = logging.getLogger(__name__)


class InspectorThread:
    """Works while the app does. One dataset at a time: inspecting is the disk's work, and requests come first."""

    def __init__(self, settings: Settings, database: Database, storage: Storage) -> None:
        self._inspector = Inspector(database, storage, settings)
        self._wanted = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inspector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something to do."""
        self._wanted.set()

    def stop(self) -> None:
        """Leaves what is under way to the next process."""
        self._inspector.stopping.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._inspector.stopping.is_set():
            try:
                if self._inspector.run_once():
                    continue
            except Exception:  # the thread outlives whatever went wrong: a database that is away, a full disk
                _log.exception("an inspection failed; the dataset is taken again in a while")
            self._wanted.wait(POLL_S)
            self._wanted.clear()
