"""What a project's quotas say to an upload: before it is taken in, while it comes, and when its row is written."""

from collections.abc import Iterator

from fastapi import Request
from sqlalchemy.orm import Session

from api.deps import Services
from api.uploads import is_form
from service import clock, quotas
from service.access import Caller
from service.errors import TooLarge
from service.limits import Limits
from service.storage import Stored


def store(services: Services, caller: Caller, request: Request, kind: str, pieces: Iterator[bytes]) -> Stored:
    """Stores what is uploaded, as far as the project has room. Raises TooLarge, StorageFull and QuotaExceeded."""
    settings = services.settings
    told = request.headers.get("content-length", "")
    # A form is larger than its file, so only of the body itself is known beforehand whether it fits.
    refuse(services, caller, int(told) if told.isdigit() and not is_form(request) else 1)
    with services.database.read() as session:
        room = quotas.storage_room(session, caller.project, Limits.of(settings))
    try:
        most = settings.max_upload_bytes if room is None else min(room, settings.max_upload_bytes)
        return services.storage.put_stream(kind, pieces, most)
    except TooLarge:
        if room is not None and room < settings.max_upload_bytes:
            refuse(services, caller, room + 1)
        raise


def refuse(services: Services, caller: Caller, adding: int) -> None:
    """Raises QuotaExceeded where the project may not store so many bytes more."""
    with services.database.read() as session:
        quotas.check_room(session, caller.project, adding, Limits.of(services.settings))


def claim(session: Session, services: Services, caller: Caller, adding: int) -> None:
    """The same in the transaction that writes the row, so that two uploads cannot both take the last room."""
    quotas.check_storage(session, caller.project, adding, Limits.of(services.settings), clock.now())
