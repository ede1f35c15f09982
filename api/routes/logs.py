"""What a job's attempts printed, as a list and live."""

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Response

from api import sse
from api.deps import JobsRead, PageDep, ReadSession, Services, ServicesDep
from api.hub import Item, Source
from api.routes.records import STREAM_BATCH, LastEventId
from api.schemas.common import Listing
from api.schemas.records import LogLine
from service import jobs, logs
from service.db.models import Job
from service.errors import InvalidRequest
from service.states import JobState

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])


@router.get("/logs", response_model=Listing[LogLine], responses=sse.ANSWERS)
def list_logs(
    session: ReadSession,
    services: ServicesDep,
    caller: JobsRead,
    job_id: str,
    page: PageDep,
    is_stream: sse.WantsStream,
    last_event_id: LastEventId = None,
) -> Listing[LogLine] | Response:
    """Oldest first; live with `Accept: text/event-stream`, until the job has ended; 204 for who has seen that."""
    jobs.get(session, caller.project, job_id)
    if is_stream:
        after = int(last_event_id) if last_event_id and re.fullmatch(r"\d{1,18}", last_event_id, re.ASCII) else 0
        if after and [each.is_last for each in _new_lines(services, job_id, after)] == [True]:
            return sse.finished()
        listener = sse.Listener(caller.actor, services.access.watching(caller))
        return sse.stream(services.hubs, _source(services), job_id, after, listener)
    if page.limit < 1:
        raise InvalidRequest("limit must be at least 1", param="limit")
    attempts = jobs.attempts(session, job_id)
    lines = logs.read(session, _folder(services), attempts, _position(page.after, job_id), page.limit + 1)
    shown, has_more = lines[: page.limit], len(lines) > page.limit
    cursor = _cursor(shown[-1].position, job_id) if has_more else None
    return Listing[LogLine](data=[LogLine.of(line) for line in shown], has_more=has_more, next_cursor=cursor)


def _source(services: Services) -> Source:
    def read(cursors: Mapping[str, int]) -> dict[str, list[Item]]:
        return {job_id: _new_lines(services, job_id, after) for job_id, after in cursors.items()}

    return Source("logs", read)


def _new_lines(services: Services, job_id: str, after: int) -> list[Item]:
    with services.database.read() as session:
        job = session.get_one(Job, job_id)
        attempts = jobs.attempts(session, job_id)
        lines = logs.read(session, _folder(services), attempts, after, STREAM_BATCH)
    items = [Item(str(each.position), "log", LogLine.of(each).model_dump_json(), each.position) for each in lines]
    if not items and JobState(job.state).is_terminal:
        return [Item(str(after), "end", "{}", after, is_last=True)]
    return items


def _folder(services: Services) -> Path:
    return services.settings.data_dir / "logs"


def _cursor(position: int, job_id: str) -> str:
    return base64.urlsafe_b64encode(f"{position} {job_id}".encode()).decode().rstrip("=")


def _position(cursor: str | None, job_id: str) -> int:
    """Raises InvalidRequest for what is no cursor of this job's log."""
    if cursor is None:
        return 0
    try:
        position, _, of_job = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("after must be the next_cursor of an earlier page", param="after") from error
    if of_job != job_id or not re.fullmatch(r"\d{1,18}", position, re.ASCII):
        raise InvalidRequest("after must be the next_cursor of an earlier page", param="after")
    return int(position)
