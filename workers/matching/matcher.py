"""Has matches measured, one at a time, in a thread of the dispatcher; several dispatchers may do so at once.

Each is measured by a process of its own, which can neither block nor end the dispatcher. Everything is written here,
under the attempt's fence: a process that dies, hangs or is stopped costs its match a try, and nothing else.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from sqlalchemy.exc import SQLAlchemyError

from service import clock, matches
from service.db.models import FamilyMatch
from service.db.session import Database
from service.processes import end_group
from service.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
AFTER_TROUBLE_S = 10.0
BEAT_S = 5.0
_WAIT_S = 0.1
_MOST_OF_LOG = 2000
MEASURE = (sys.executable, "-m", "workers.matching")


@dataclass
class Matcher:
    settings: Settings
    database: Database
    command: Sequence[str] = MEASURE
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside this process's own."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; what is being measured then is given back."""
        while not stop.is_set():
            try:
                busy = self.step(stop)
            except (SQLAlchemyError, OSError) as error:
                log.warning("matches wait: %s", error)
                stop.wait(AFTER_TROUBLE_S)
                continue
            if not busy:
                stop.wait(LOOK_EVERY_S)

    def step(self, stop: threading.Event) -> bool:
        """Measures the next one; whether there was one."""
        if not self._any_waits():
            return False
        row = self.database.write(lambda session: matches.claim(session, clock.now()))
        if row is not None:
            self._measure(row, stop)
        return row is not None

    def _any_waits(self) -> bool:
        with self.database.read() as session:
            return matches.any_waits(session, clock.now())

    def _measure(self, row: FamilyMatch, stop: threading.Event) -> None:
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = self._open(row.id, output, errors)
            try:
                word = self._watch(child, row, stop)
            finally:
                _end(child)
            said = _said(child, output)
            if child.returncode != 0:
                log.warning("the process of %s ended with %s: %s", row.id, child.returncode, _tail(errors))
        self._settle(row, word, said)

    def _open(self, match_id: str, output: IO[bytes], errors: IO[bytes]) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*self.command, match_id],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            env={**os.environ, **self.environment},
        )

    def _watch(self, child: "subprocess.Popen[bytes]", row: FamilyMatch, stop: threading.Event) -> str:
        """Until the process ends by itself (`ended`) or is to be ended: `stopped`, `timeout`, or `lost` to another."""
        began = beaten = time.monotonic()
        while child.poll() is None:
            now = time.monotonic()
            if stop.wait(_WAIT_S):
                return "stopped"
            if now - began > self.settings.match_timeout_s:
                return "timeout"
            if now - beaten > BEAT_S:
                beaten = now
                if not self._beat(row):
                    return "lost"
        return "ended"

    def _beat(self, row: FamilyMatch) -> bool:
        try:
            return self.database.write(lambda session: matches.renew(session, row.id, row.attempts, clock.now()))
        except SQLAlchemyError:
            return True  # it is away: whose the match is, is asked again

    def _settle(self, row: FamilyMatch, word: str, said: dict[str, Any] | None) -> None:
        mine, now = (row.id, row.attempts), clock.now()
        if said is not None and "result" in said:
            result = said["result"]
            self.database.write(lambda session: matches.succeed(session, *mine, result, now))
        elif said is not None:
            failure = said["failure"]
            self.database.write(lambda session: matches.fail(session, *mine, failure["code"], failure["message"], now))
        elif word == "stopped":
            self.database.write(lambda session: matches.release(session, *mine))
        elif word == "timeout":
            message = (
                f"It took longer than {self.settings.match_timeout_s:g} s: ask with a smaller model, "
                "a smaller batch_size, or fewer families."
            )
            self.database.write(lambda session: matches.fail(session, *mine, "timeout", message, now))
        elif word == "ended":
            reason = "The process that measured ended without a word; when memory runs out, the system does that."
            self.database.write(lambda session: matches.try_again(session, *mine, reason, now))


def _end(child: "subprocess.Popen[bytes]") -> None:
    """With all it started; SIGKILL at once, for it writes nothing."""
    if child.stdin is not None:
        with suppress(OSError):
            child.stdin.close()
    if child.poll() is None:
        end_group(child.pid, 0.0)
    with suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)


def _said(child: "subprocess.Popen[bytes]", output: IO[bytes]) -> dict[str, Any] | None:
    """What it printed, if it came to an end."""
    if child.returncode != 0:
        return None
    output.seek(0)
    try:
        said = json.loads(output.read())
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.keys() & {"result", "failure"} else None


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _MOST_OF_LOG))
    return errors.read().decode(errors="replace").strip()


def start(settings: Settings, database: Database, stop: threading.Event) -> threading.Thread:
    """Has matches measured until `stop`; the thread that does."""
    matcher = Matcher(settings, database)
    thread = threading.Thread(target=matcher.run, args=(stop,), name="matcher", daemon=True)
    thread.start()
    return thread
