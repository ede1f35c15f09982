"""What a job's description names of the hub, settled before its transaction: a configuration, and weights."""

from sqlalchemy.orm import Session

from api import quotas
from api.changes import Change
from api.deps import Services
from service import clock, weights
from service.access import Caller
from service.db import checkpoint_queries
from service.errors import InvalidRequest
from service.hub import models
from service.hub.address import is_hub
from service.spec import FromCheckpoint, FromFamily, JobSpec
from service.spec_models import TransformersModel


def settled(services: Services, caller: Caller, spec: JobSpec) -> JobSpec:
    """The description with nothing left to ask the hub for. Raises InvalidRequest, Unavailable, TooLarge, Limited."""
    if isinstance(spec.model, TransformersModel):
        model = models.configured(services.settings, caller.project, spec.model)
        spec = spec.model_copy(update={"model": model})
    if isinstance(spec.init, FromCheckpoint) and is_hub(spec.init.checkpoint):
        id_ = _checkpoint(services, caller, spec, spec.init.checkpoint, "init.checkpoint")
        return spec.model_copy(update={"init": FromCheckpoint(checkpoint=id_)})
    if isinstance(spec.init, FromFamily) and is_hub(spec.init.family):
        id_ = _checkpoint(services, caller, spec, spec.init.family, "init.family")
        return spec.model_copy(update={"init": FromFamily(family=id_)})
    return spec


def _checkpoint(services: Services, caller: Caller, spec: JobSpec, uri: str, param: str) -> str:
    """Id of the checkpoint of these weights, which are fetched where the project has none of the same sha256."""
    if not isinstance(spec.model, TransformersModel):
        raise InvalidRequest("Weights of the hub go with model.kind transformers.", param=param)
    found = models.weights(services.settings, caller.project, uri, param)
    if found.sha256 is not None:
        with services.database.read() as session:
            row = checkpoint_queries.uploaded(session, caller.project, found.sha256)
        if row is not None:
            return row.id
    quotas.refuse(services, caller, found.size)
    stored = models.store(services.storage, services.settings, caller.project, found, param)
    try:
        weights.check(services.storage, stored)
    except InvalidRequest as error:
        raise InvalidRequest(error.detail, param=param) from error

    def work(session: Session) -> str:
        quotas.claim(session, services, caller, stored.size)
        made = weights.add(session, caller.project, stored, clock.now())
        change = Change("checkpoint.upload", made.id, {"sha256": made.sha256, "size": made.size, "uri": uri})
        change.record(session, caller)
        return made.id

    return services.database.write(work)
