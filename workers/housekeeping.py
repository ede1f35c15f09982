"""What the dispatcher does beside its work: retention and garbage collection, in a thread of its own.

Every step may be interrupted, and several dispatchers may do it at once.
"""

import logging
import threading

from service import clock, collecting, garbage, logs, retention
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage

log = logging.getLogger(__name__)

FIRST_AFTER_S = 60.0


def tidy(database: Database, storage: Storage, settings: Settings) -> garbage.Collected:
    """One round."""
    now = clock.now()
    gone = retention.keep_checkpoints(database, settings, now)
    retention.keep_records(database, settings, now)
    logs.drop_files(settings.data_dir / "logs", settings.keep_logs_days, now)
    retention.keep_matches(database, now)
    let_go = collecting.collect(database, settings, now)
    collected = garbage.collect(database, storage, now, settings.gc_grace_s)
    if gone or collected.removed or collected.aside:
        log.info("checkpoints dropped: %d; files removed: %d, unfinished: %d", gone, collected.removed, collected.aside)
    if let_go.warps or let_go.starts:
        log.info("files let go of: versions of P %d, starts and what they came from %d", let_go.warps, let_go.starts)
    return collected


def keep_house(database: Database, storage: Storage, settings: Settings, stop: threading.Event) -> threading.Thread:
    """Tidies every `gc_every_s` until `stop`; the thread that does."""

    def run() -> None:
        wait = min(FIRST_AFTER_S, settings.gc_every_s)
        while not stop.wait(wait):
            wait = settings.gc_every_s
            try:
                tidy(database, storage, settings)
            except Exception:  # a storage or a database that is away: the next round does what this one did not
                log.exception("this round of tidying was not finished")

    thread = threading.Thread(target=run, name="housekeeping", daemon=True)
    thread.start()
    return thread
