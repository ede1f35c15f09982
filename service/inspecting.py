"""Inspecting large uploads after they were answered.

A dataset that is `inspecting` is taken by one inspector for LEASE_S, which its beats prolong; one whose inspector is
gone is taken again, three times at most, so that data that ends its reader does not do so for ever. What an inspector
writes is conditional on the inspection still being its own.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event

from sqlalchemy.orm import Session

from service import clock, datasets, examining, origins
from service.data.source import Progress
from service.db import dataset_queries
from service.db.models import Dataset
from service.db.session import Database
from service.examining import Examined
from service.origins import Uploaded
from service.settings import Settings
from service.spec import DatasetOptions
from service.storage import Storage

LEASE_S = 30.0
BEAT_S = 1.0
MAX_INSPECTIONS = 3


class InspectionEnded(Exception):
    """It was told to stop, or is another's now."""


@dataclass(frozen=True)
class Inspector:
    """Inspects one dataset after the other; `stopping` ends it at the next read."""

    database: Database
    storage: Storage
    settings: Settings
    stopping: Event = field(default_factory=Event)
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def run_once(self) -> bool:
        """Inspects the oldest dataset that waits; whether there was one."""
        with self.database.read() as session:
            waiting = dataset_queries.next_inspection(session, clock.now())
        if waiting is None:
            return False
        row = self.database.write(lambda session: self._take(session, waiting))
        if row is not None:
            self._inspect(row)
        return True

    def _take(self, session: Session, id_: str) -> Dataset | None:
        now = clock.now()
        row = dataset_queries.take(session, id_, self.id, now, _later(now))
        if row is None or row.inspections <= MAX_INSPECTIONS:
            return row
        row.state = "invalid"
        row.error = (
            f"The inspection did not come to an end in {MAX_INSPECTIONS} attempts, most likely for want of memory or "
            "disk: register less data, or ask who runs the service to look at the API's log."
        )
        return None

    def _inspect(self, row: Dataset) -> None:
        """Where the storage is away or has no room it raises, and the dataset is taken again when the lease ends."""
        options = DatasetOptions.model_validate(row.options, extra="ignore")
        try:
            with self._beating(row.id) as told:
                examined = examining.examine(self.storage, self.settings, origins.origin_of(row), options, told)
        except InspectionEnded:
            self.database.write(lambda session: self._release(session, row.id))
        else:
            self.database.write(lambda session: self._conclude(session, row.id, examined))

    @contextmanager
    def _beating(self, id_: str) -> Iterator[Progress]:
        """Beats by itself, for what was read may take long to look through; yields what counts the bytes."""
        done, ended, lost = [0], Event(), Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                if not self.database.write(lambda session: self._beat(session, id_, done[0])):
                    lost.set()
                    return

        def told(count: int) -> None:
            done[0] += count
            if self.stopping.is_set() or lost.is_set():
                raise InspectionEnded

        thread = threading.Thread(target=beat, name="inspection's beat", daemon=True)
        thread.start()
        try:
            yield told
        finally:
            ended.set()
            thread.join()

    def _release(self, session: Session, id_: str) -> None:
        """Leaves it to whoever comes next; that this one was stopped says nothing of the data."""
        row = dataset_queries.held(session, id_, self.id)
        if row is not None:
            row.inspector = row.inspect_until = None
            row.inspections -= 1

    def _conclude(self, session: Session, id_: str, examined: Examined) -> None:
        row = dataset_queries.held(session, id_, self.id)
        if row is not None:
            datasets.conclude(row, examined)
            row.inspector = row.inspect_until = None

    def _beat(self, session: Session, id_: str, done: int) -> bool:
        """Whether the inspection is still this one's."""
        row = dataset_queries.held(session, id_, self.id)
        if row is not None:
            row.inspect_until = _later(clock.now())
            row.inspected_bytes = min(done, row.size or done)
        return row is not None


def is_large(settings: Settings, upload: Uploaded) -> bool:
    """Whether the upload is inspected after it was answered."""
    return upload.stored.size > settings.inspect_at_once_bytes


def _later(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_S)
