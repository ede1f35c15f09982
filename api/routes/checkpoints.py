"""One's own base model: its weights become a checkpoint from which jobs can start."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from api import quotas
from api.changes import Change
from api.deps import JobsWrite, ServicesDep
from api.idempotency import Made, OnceDep
from api.problems import UPLOAD, problems
from api.routes.warps import FILE_BODY
from api.schemas.records import Checkpoint
from api.uploads import file_chunks
from service import clock, weights

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"])

STORED_AS = "checkpoints"


@router.post("", status_code=201, response_model=Checkpoint, openapi_extra=FILE_BODY, responses=problems(*UPLOAD))
def upload_checkpoint(request: Request, services: ServicesDep, caller: JobsWrite, once: OnceDep) -> Response:
    """Uploads the state of a model (safetensors); jobs name it as `init: {checkpoint: ckpt_…}`."""
    stored = quotas.store(services, caller, request, STORED_AS, file_chunks(request))
    weights.check(services.storage, stored)

    def work(session: Session) -> Made:
        quotas.claim(session, services, caller, stored.size)
        row = weights.add(session, caller.project, stored, clock.now())
        change = Change("checkpoint.upload", row.id, {"sha256": row.sha256, "size": row.size})
        return Made(Checkpoint.of(row), 201, change=change)

    return once.write({"sha256": stored.sha256}, work)
