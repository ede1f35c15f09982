"""What must hold before `serve` makes anything."""

import logging
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from service import bind
from service.db.outages import passes, patiently
from service.db.session import Database
from service.settings import Settings

log = logging.getLogger(__name__)

DATABASE_S = 60.0
"""A database server that starts at the same time is waited for."""


def check_start(settings: Settings) -> None:
    """Before anything is made: the database answers, and whoever the service is opened to has a way in.

    A database of its own that is not there yet has no keys. Raises RefusesToStart, and OperationalError where it does
    not answer.
    """
    path = make_url(settings.database).database
    is_sqlite = settings.database.startswith("sqlite")
    if is_sqlite and not (path and Path(path).exists()):
        return bind.check(settings, None)
    database = Database(settings.database, settings.database_limits)
    try:
        if not is_sqlite:
            wait_for_database(database)
        bind.check(settings, database)
    finally:
        database.dispose()


def wait_for_database(database: Database, patience_s: float = DATABASE_S) -> None:
    """A database server that starts at the same time, or starts anew, is waited for. Raises OperationalError."""
    told = False

    def ask() -> None:
        nonlocal told
        try:
            with database.read() as session:
                session.execute(text("SELECT 1"))
        except OperationalError as error:
            if not told and passes(error):
                log.warning("the database does not answer, it is asked for %g s: %s", patience_s, error.orig)
            told = True
            raise

    patiently(ask, patience_s)
