"""Which families' P suit a dataset and a model: ask, and look whether it has been measured."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.changes import Change
from api.data import data_of
from api.deps import Matching, ReadSession, ServicesDep, WarpsRead
from api.idempotency import Made, OnceDep
from api.problems import MADE, problems
from api.schemas.matches import ASKED, FamilyMatch
from service import clock, matches
from service.matches import MatchSpec
from service.resolve import Limits

router = APIRouter(prefix="/v1/families", tags=["families"])

_REFUSALS = ("dataset_not_ready", "dataset_not_found", "family_not_found", "checkpoint_not_found", "quota_exceeded")


@router.post(
    "/match",
    status_code=202,
    response_model=FamilyMatch,
    responses={202: MADE, **problems(*_REFUSALS)},
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": ASKED}}}},
)
def match_families(spec: MatchSpec, services: ServicesDep, caller: Matching, once: OnceDep) -> Response:
    """Has it measured on a worker which families' P suit this data and model. Data by `uri` needs `datasets:write`."""
    find = data_of(services, caller, spec.dataset)

    def prepare() -> Callable[[Session], Made]:
        dataset = find()
        limits = Limits(max_axis=services.settings.max_axis)

        def work(session: Session) -> Made:
            row = matches.submit(session, caller.project, spec, dataset, limits, clock.now())
            change = Change("family.match", row.id, {"dataset": dataset.id})
            return Made(FamilyMatch.of(row), 202, f"/v1/families/matches/{row.id}", change)

        return work

    return once.plan(spec, prepare)


@router.get("/matches/{match_id}")
def get_match(session: ReadSession, caller: WarpsRead, match_id: str) -> FamilyMatch:
    """What was found, once `state` is `succeeded`. It is kept for 30 days."""
    return FamilyMatch.of(matches.get(session, caller.project, match_id))
