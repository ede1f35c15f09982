"""Which programs a launcher has started, a small file for each, so that the launcher after it finds them.

A program is known by its pid and the time at which the system made it: a pid alone may have been used again. Its file
goes when the whole process group is gone. The folder belongs to one machine.
"""

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from service.processes import end_group, members

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Known:
    """A process, so that it is not taken for another one."""

    pid: int
    made: float
    """Seconds, as psutil gives them."""

    @classmethod
    def of(cls, pid: int) -> "Known":
        """0: it is gone already."""
        made = 0.0
        with suppress(psutil.Error):
            made = psutil.Process(pid).create_time()
        return cls(pid, made)

    def lives(self) -> bool:
        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.made) < 1.0
            return same and process.status() != psutil.STATUS_ZOMBIE
        return False


@dataclass(frozen=True)
class Entry:
    """A program: the attempt that it runs (None: it waits for one), and the launcher's process that looks after it."""

    program: Known
    owner: Known
    submission: str | None

    @property
    def is_orphan(self) -> bool:
        return not self.owner.lives()


@dataclass
class Registry:
    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def note(self, pid: int, submission: str | None) -> None:
        """From now on this process looks after that program."""
        entry = Entry(Known.of(pid), Known.of(os.getpid()), submission)
        written = self._path(pid).with_suffix(".new")
        try:
            written.write_text(json.dumps(asdict(entry)))
            written.replace(self._path(pid))
        except OSError as error:  # a full disk: without its file a program is left to its lease
            log.warning("process %d could not be noted: %s", pid, error)

    def entries(self) -> list[Entry]:
        """Those that are noted; what cannot be read is none, and is removed."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                read = json.loads(path.read_text())
                found.append(Entry(Known(**read["program"]), Known(**read["owner"]), read["submission"]))
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError):
                path.unlink(missing_ok=True)
        return found

    def of_submission(self, submission: str) -> Entry | None:
        return next((entry for entry in self.entries() if entry.submission == submission), None)

    def end(self, entry: Entry, grace_s: float = 0.0) -> bool:
        """Ends the program and its group, and forgets it; whether it is gone."""
        pid = entry.program.pid
        # A group keeps its number from being used again as long as one of it lives, whether its leader does or not.
        ours = entry.program.lives() or not psutil.pid_exists(pid)
        if ours and members(pid) and not end_group(pid, grace_s):
            return False
        self.forget(pid)
        return True

    def forget(self, pid: int) -> None:
        self._path(pid).unlink(missing_ok=True)

    def _path(self, pid: int) -> Path:
        return self.folder / f"{pid}.json"
