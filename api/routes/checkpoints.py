"""One's own base model: its weights become a checkpoint from which jobs can start."""

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from api.deps import PROJECT, ServicesDep
from api.idempotency import Made, OnceDep
from api.routes.warps import FILE_BODY
from api.schemas.jobs import Checkpoint
from api.uploads import file_chunks
from service import clock, weights

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"])

STORED_AS = "checkpoints"


@router.post("", status_code=201, response_model=Checkpoint, openapi_extra=FILE_BODY)
def upload_checkpoint(request: Request, services: ServicesDep, once: OnceDep) -> Response:
    """Uploads the state of a model (safetensors); jobs name it as `init: {checkpoint: ckpt_…}`."""
    stored = services.storage.put_stream(STORED_AS, file_chunks(request), services.settings.max_upload_bytes)
    weights.check(services.storage, stored)

    def work(session: Session) -> Made:
        return Made(Checkpoint.of(weights.add(session, PROJECT, stored, clock.now())), 201)

    return once.write({"sha256": stored.sha256}, work)
