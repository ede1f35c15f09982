"""The versions of a family's P: see, download, upload."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.orm import Session

from api import content, quotas
from api.changes import Change
from api.deps import PageDep, ReadSession, ServicesDep, WarpsRead, WarpsWrite
from api.files import blob_content
from api.idempotency import Made, OnceDep
from api.problems import MADE, UPLOAD, problems
from api.schemas.common import Listing
from api.schemas.families import WarpVersion
from api.uploads import file_chunks
from service import clock, families, starts, warps
from service.db import models
from service.errors import NotFound, TooLarge

router = APIRouter(prefix="/v1/families/{family}/warps", tags=["warps"])

MAX_WARP_BYTES = 256 * 2**20
"""A P is checked and stored as a whole, so it must fit the memory comfortably."""

Which = Annotated[str, Path(description="A version number, or an alias such as champion.")]

FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            content.MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "sha256": {
                            "type": "string",
                            "pattern": "^[0-9a-fA-F]{64}$",
                            "description": "Of the file, in hex.",
                        },
                        "file": {"type": "string", "format": "binary", "description": "The form's last part."},
                    },
                    "required": ["file"],
                    "additionalProperties": False,
                }
            },
        },
    }
}


@router.get("")
def list_warps(session: ReadSession, caller: WarpsRead, family: str, page: PageDep) -> Listing[WarpVersion]:
    """Newest first."""
    found = warps.list_(session, families.get(session, caller.project, family), page)
    return Listing[WarpVersion].of_page(found, [_shown(session, family, row) for row in found.items])


@router.post(
    "",
    status_code=201,
    response_model=WarpVersion,
    openapi_extra=FILE_BODY,
    responses={201: MADE, **problems(*UPLOAD)},
)
def upload_warp(request: Request, services: ServicesDep, caller: WarpsWrite, family: str, once: OnceDep) -> Response:
    """Uploads a P (safetensors), which becomes the family's next version; `latest` moves to it."""
    with services.database.read() as session:
        families.get(session, caller.project, family)
    quotas.refuse(services, caller, 1)
    data = _whole(request)

    def work(session: Session) -> Made:
        quotas.claim(session, services, caller, len(data))
        row = warps.upload(session, families.get(session, caller.project, family), data, clock.now())
        change = Change("warp.upload", f"{family}@{row.version}", {"sha256": row.sha256, "size": row.size})
        return Made(_shown(session, family, row), 201, f"/v1/families/{family}/warps/{row.version}", change)

    return once.write({"sha256": content.sha256(data)}, work)


def _whole(request: Request) -> bytes:
    data = bytearray()
    for chunk in file_chunks(request):
        data += chunk
        if len(data) > MAX_WARP_BYTES:
            raise TooLarge(f"A P may have {MAX_WARP_BYTES} bytes.")
    return bytes(data)


@router.get("/{which}")
def get_warp(session: ReadSession, caller: WarpsRead, family: str, which: Which) -> WarpVersion:
    """Where it comes from, which axes it has, and how it did in a comparison."""
    return _shown(session, family, _resolve(session, caller.project, family, which))


@router.head("/{which}/content", include_in_schema=False)
@router.get(
    "/{which}/content",
    response_class=Response,
    responses=content.COLLECTED,
    openapi_extra=content.PARAMETERS,
)
def get_warp_content(
    request: Request, session: ReadSession, services: ServicesDep, caller: WarpsRead, family: str, which: Which
) -> Response:
    """P as safetensors, with a strong ETag; ranges are served. 410 where retention has removed it."""
    row = _resolve(session, caller.project, family, which)
    warps.check_kept(families.get(session, caller.project, family), row)
    found = blob_content(services.database, services.kept, row.sha256, row.size, f"{family}-{row.version}.safetensors")
    return content.respond(request, found, location=f"/v1/families/{family}/warps/{row.version}/content")


def _shown(session: Session, family: str, row: models.WarpVersion) -> WarpVersion:
    return WarpVersion.of(family, row, starts.paired_with(session, row.family_id, row.version))


def _resolve(session: Session, project: str, family: str, which: str) -> models.WarpVersion:
    """Raises NotFound, also for champion and latest of a family that has no P yet."""
    found = warps.resolve(session, families.get(session, project, family), which)
    if found is None:
        raise NotFound(f"Family {family} has no P yet: it gets one from its first contributing job.")
    return found
