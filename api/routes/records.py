"""What a job leaves while it runs: metrics, events, checkpoints."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from fastapi.responses import Response

from api import content, sse
from api.deps import JobsRead, PageDep, ReadSession, Services, ServicesDep
from api.files import stored_content
from api.hub import Item, Source
from api.schemas import job_text
from api.schemas.common import Listing, answer
from api.schemas.records import Checkpoint, Event, Metrics
from service import checkpoints, events, jobs, metrics
from service.db import models
from service.errors import NotFound
from service.states import JobState

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["jobs"])

STREAM_BATCH = 200
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="With a stream: go on after this one.")]


@router.get("/metrics", response_model=Metrics)
def get_metrics(
    session: ReadSession,
    caller: JobsRead,
    job_id: str,
    name: Annotated[list[str] | None, Query(description="Given twice: both; absent: all.")] = None,
    max_points: Annotated[int, Query(ge=2, le=10_000, description="Of each metric; keeps first and last.")] = 1000,
) -> Response:
    """What the job measured, by name: `train_loss`, `val_loss`, `lr`, …"""
    jobs.get(session, caller.project, job_id)
    return answer(job_text.metrics(metrics.read_plain(session, job_id, name, max_points)))


@router.get("/events", response_model=Listing[Event], responses=sse.ANSWERS)
def list_events(
    session: ReadSession,
    services: ServicesDep,
    caller: JobsRead,
    job_id: str,
    page: PageDep,
    is_stream: sse.WantsStream,
    last_event_id: LastEventId = None,
) -> Listing[Event] | Response:
    """Oldest first; live with `Accept: text/event-stream`, until the job's `end`; 204 for who has seen that."""
    job = jobs.get(session, caller.project, job_id)
    if is_stream:
        after = (events.seq_of(session, job_id, last_event_id) if last_event_id else None) or 0
        if JobState(job.state).is_terminal and not events.after(session, job_id, after, 1):
            return sse.finished()
        listener = sse.Listener(caller.actor, services.access.watching(caller))
        return sse.stream(services.hubs, _source(services), job_id, after, listener)
    found = events.list_(session, job_id, page)
    return Listing[Event].of_page(found, [Event.of(row) for row in found.items])


def _source(services: Services) -> Source:
    def read(cursors: Mapping[str, int]) -> dict[str, list[Item]]:
        with services.database.read() as session:
            heads = events.heads(session, cursors)
            return {
                id_: [_item(row) for row in events.after(session, id_, cursor, STREAM_BATCH)]
                for id_, cursor in cursors.items()
                if heads.get(id_, 0) > cursor
            }

    return Source("events", read)


def _item(row: models.Event) -> Item:
    return Item(row.id, row.type, Event.of(row).model_dump_json(), row.seq, row.type == "end")


@router.get("/checkpoints")
def list_checkpoints(session: ReadSession, caller: JobsRead, job_id: str, page: PageDep) -> Listing[Checkpoint]:
    """Newest first."""
    jobs.get(session, caller.project, job_id)
    found = checkpoints.list_(session, caller.project, job_id, page)
    return Listing[Checkpoint].of_page(found, [Checkpoint.of(row) for row in found.items])


@router.head("/checkpoints/{which}/content", include_in_schema=False)
@router.get(
    "/checkpoints/{which}/content",
    response_class=Response,
    responses=content.ANSWERS,
    openapi_extra=content.PARAMETERS,
)
def get_checkpoint_content(
    request: Request,
    session: ReadSession,
    services: ServicesDep,
    caller: JobsRead,
    job_id: str,
    which: Annotated[str, Path(description="best, last, or a step")],
) -> Response:
    """The model's state as safetensors."""
    row = checkpoints.find(session, caller.project, job_id, _which(which))
    found = stored_content(services.storage, row.path, row.sha256, row.size, f"{job_id}-{row.step}.safetensors")
    return content.respond(request, found)


def _which(text: str) -> checkpoints.Which:
    if text == "best":
        return "best"
    if text == "last":
        return "last"
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text)
    raise NotFound("Checkpoints are named best, last, or by their step.")
