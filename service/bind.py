"""Who may reach the service without a key: nobody but this machine, and that only while it has had none."""

from sqlalchemy.exc import SQLAlchemyError

from service import clock, keys
from service.db.session import Database
from service.settings import Settings

HOW = "make one with: warpadam keys create --project default --scope admin"


class RefusesToStart(Exception):
    """The settings would open the service to others without keys, or to nobody at all. Says what to do."""


def always_wants_keys(settings: Settings) -> bool:
    """Whether a key is needed whatever the database holds."""
    return settings.auth == "keys" or not settings.is_loopback


def check(settings: Settings, database: Database | None) -> None:
    """Raises RefusesToStart unless the service is for this machine only, or has a key that opens it.

    `database` None: it is still to be made.
    """
    if not always_wants_keys(settings):
        return
    if settings.auth == "off":
        raise RefusesToStart(
            f"WARPADAM_AUTH=off is for loopback only, and {settings.host or 'this host'} can be reached from elsewhere:"
            " leave it out and make a key, or use WARPADAM_HOST=127.0.0.1."
        )
    if database is None or not _has_keys(database):
        raise RefusesToStart(
            f"The service has no keys, and wants them on {settings.host or 'every address'}, so nobody could use it. "
            f"First {HOW}. Without keys it serves this machine only: WARPADAM_HOST=127.0.0.1 (--host 127.0.0.1)."
        )


def _has_keys(database: Database) -> bool:
    try:
        with database.read() as session:
            return keys.are_active(session, clock.now())
    except SQLAlchemyError as error:
        raise RefusesToStart(
            f"Whether there are keys cannot be read from the database ({type(error).__name__}): does it answer, and "
            "has it been upgraded (warpadam db upgrade)?"
        ) from error
