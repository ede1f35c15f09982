"""The versions of a family's starts: see and download."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api import content
from api.deps import PageDep, ReadSession, ServicesDep, WarpsRead
from api.files import stored_content
from api.schemas.common import Listing
from api.schemas.starts import StartVersion
from service import families, starts

router = APIRouter(prefix="/v1/families/{family}/starts", tags=["starts"])

Number = Annotated[int, Path(description="A version's number.")]
Anchors = Annotated[list[str] | None, Query(description="Only of this architecture and base; given twice: either.")]


@router.get("")
def list_starts(
    session: ReadSession, caller: WarpsRead, family: str, page: PageDep, anchor: Anchors = None
) -> Listing[StartVersion]:
    """Newest first, of all architectures."""
    found = starts.list_(session, families.get(session, caller.project, family), page, anchor or [])
    return Listing[StartVersion].of_page(found, [StartVersion.of(family, row) for row in found.items])


@router.get("/{version}")
def get_start(session: ReadSession, caller: WarpsRead, family: str, version: Number) -> StartVersion:
    """What it grew from, and which jobs and datasets are behind it."""
    return StartVersion.of(family, starts.get(session, families.get(session, caller.project, family), version))


@router.head("/{version}/content", include_in_schema=False)
@router.get(
    "/{version}/content",
    response_class=Response,
    responses=content.COLLECTED,
    openapi_extra=content.PARAMETERS,
)
def get_start_content(
    request: Request, session: ReadSession, services: ServicesDep, caller: WarpsRead, family: str, version: Number
) -> Response:
    """The weights as safetensors, with a strong ETag; ranges are served. 410 where retention has removed them."""
    owner = families.get(session, caller.project, family)
    stored = starts.file(owner, starts.get(session, owner, version))
    name = f"{family}-start-{version}.safetensors"
    return content.respond(request, stored_content(services.storage, stored.path, stored.sha256, stored.size, name))
