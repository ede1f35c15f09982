"""Jobs as JSON, kept in memory once they have ended: from then on nothing that is shown of them changes.

Invariant: nothing is answered from memory alone. The database says each time, by one small statement, whether the job
is there, whose it is, and which version of it: one that was deleted is gone at once, and one that came back otherwise
from a backup is read anew.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from api.schemas import job_text
from service import clock, jobs
from service.db.session import Database
from service.jobs import Place, Version

MOST_BYTES = 16 << 20
"""Of one process: some ten thousand usual jobs; those that were wanted longest ago go first."""


@dataclass
class Texts:
    """The JSON of jobs. Used by several threads."""

    database: Database
    most: int = MOST_BYTES
    _kept: OrderedDict[Place, tuple[Version, bytes]] = field(default_factory=OrderedDict, init=False)
    _bytes: int = field(default=0, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def read(self, wanted: Sequence[Place]) -> dict[Place, bytes]:
        """Of those of these jobs that there are, as they are now."""
        places = set(wanted)
        kept = self._find(places)
        with self.database.read() as session:
            now_there = jobs.versions(session, kept.keys()) if kept else {}
            found = {place: text for place, (version, text) in kept.items() if now_there.get(place) == version}
            self._drop(kept.keys() - found.keys())
            if len(found) < len(places):
                looks = jobs.look(session, places - found.keys(), clock.now())
                found |= {place: self._written(place, look) for place, look in looks.items()}
        return found

    def _written(self, place: Place, look: jobs.Look) -> bytes:
        text, version = job_text.job(look).encode(), jobs.version(look.job)
        if version is not None and len(text) <= self.most:
            with self._lock:
                self._remove(place)
                self._kept[place] = version, text
                self._bytes += len(text)
                while self._bytes > self.most:
                    self._remove(next(iter(self._kept)))
        return text

    def _find(self, places: Iterable[Place]) -> dict[Place, tuple[Version, bytes]]:
        found = {}
        with self._lock:
            for place in places:
                kept = self._kept.get(place)
                if kept is not None:
                    self._kept.move_to_end(place)
                    found[place] = kept
        return found

    def _drop(self, places: Iterable[Place]) -> None:
        with self._lock:
            for place in places:
                self._remove(place)

    def _remove(self, place: Place) -> None:
        """If it is there; the lock is held."""
        kept = self._kept.pop(place, None)
        if kept is not None:
            self._bytes -= len(kept[1])
