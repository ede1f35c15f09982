"""Jobs: submit, find, steer, delete."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy.orm import Session

from api.changes import Change, ChangesDep
from api.data import data_of
from api.deps import JobsRead, JobsWrite, PageDep, ReadSession, Services, ServicesDep, services_of
from api.idempotency import Made, OnceDep
from api.named import settled
from api.problems import MADE, problems
from api.schemas import job_text
from api.schemas.common import Deleted, Listing, answer
from api.schemas.jobs import SPECS, Job, JobValidation
from service import clock, codes, jobs, quotas
from service.access import Caller
from service.db import models
from service.errors import InvalidRequest
from service.limits import Limits
from service.spec import MAX_METADATA, JobSpec
from service.states import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

ValidateOnly = Annotated[bool, Query(description="Make nothing: say what would become of it.")]
_METADATA = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "`metadata[owner]=ada`: jobs with this pair; a key given twice means either.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    ]
}


def metadata_filter(request: Request) -> dict[str, list[str]]:
    """The parameters `metadata[key]=value`. Raises InvalidRequest for one without a key, and for too many."""
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        if name.partition("[")[0] != "metadata":
            continue
        key = name.removeprefix("metadata[").removesuffix("]")
        # A client that nests objects writes metadata[a][b], and means no key that is called "a][b".
        if name != f"metadata[{key}]" or not key or "][" in key:
            raise InvalidRequest("write it as metadata[key]=value", param="metadata")
        found.setdefault(key, []).append(value)
        if len(found) > MAX_METADATA:  # each is a condition of its own, and databases take so many only
            raise InvalidRequest(f"a job has at most {MAX_METADATA} pairs, so filter by fewer", param="metadata")
    return found


def present(session: Session, row: models.Job) -> Job:
    """A job that this transaction has just made or changed."""
    session.flush()
    place = row.project, row.id
    return job_text.model(jobs.look(session, {place}, clock.now())[place])


@router.post(
    "",
    status_code=201,
    response_model=Job,
    openapi_extra={"requestBody": {"content": {"application/json": {"examples": SPECS}}}},
    responses={
        200: {"model": JobValidation, "description": "With validate_only: what would have been made."},
        201: MADE,
        **problems(
            *("code_disabled", "dataset_not_ready", "unsupported", "dataset_not_found", "warp_not_found"),
            *("checkpoint_not_found", "quota_exceeded", "storage_full"),
        ),
    },
)
def submit_job(
    spec: JobSpec, services: ServicesDep, caller: JobsWrite, once: OnceDep, validate_only: ValidateOnly = False
) -> Response:
    """Submits a job, or says what would become of it. Data that it names by `uri` is registered: `datasets:write`.

    What it names of the Hugging Face Hub is fetched, pinned to its commit, before the job is made.
    """
    find = data_of(services, caller, spec.dataset)

    def prepare() -> Callable[[Session], Made]:
        dataset = find()
        whole = settled(services, caller, spec)
        make = _validated if validate_only else _submitted
        return lambda session: make(session, whole, dataset, services, caller)

    return once.plan(spec, prepare)


def _submitted(session: Session, spec: JobSpec, dataset: models.Dataset, services: Services, caller: Caller) -> Made:
    quotas.check_submit(session, caller.project, spec, Limits.of(services.settings), clock.now())
    job = jobs.submit(session, caller.project, spec, dataset, _limits(services, caller)).job
    change = Change("job.submit", job.id, {"family": spec.family, "dataset": dataset.id})
    return Made(present(session, job), 201, f"/v1/jobs/{job.id}", change)


def _validated(session: Session, spec: JobSpec, dataset: models.Dataset, services: Services, caller: Caller) -> Made:
    quotas.check_submit(session, caller.project, spec, Limits.of(services.settings), clock.now())
    submission = jobs.dry_run(session, caller.project, spec, dataset, _limits(services, caller))
    return Made(JobValidation.of(submission.job, submission.warnings))


def _limits(services: Services, caller: Caller) -> jobs.Limits:
    refusal: codes.Refusal | None = "server" if not services.settings.allow_code else None
    if refusal is None and not caller.may("code:run"):
        refusal = "key"
    return jobs.Limits(code_refused=refusal, max_axis=services.settings.max_axis)


@router.get("", response_model=Listing[Job], openapi_extra=_METADATA)
def list_jobs(
    session: ReadSession,
    caller: JobsRead,
    page: PageDep,
    metadata: Annotated[dict[str, list[str]], Depends(metadata_filter)],
    state: Annotated[list[JobState] | None, Query(description="Given twice: either.")] = None,
    family: Annotated[list[str] | None, Query(description="Given twice: either.")] = None,
) -> Response:
    """Newest first."""
    found = jobs.list_(session, caller.project, page, states=state or [], families=family or [], metadata=metadata)
    places = [(caller.project, id_) for id_ in found.items]
    looks = jobs.look(session, set(places), clock.now())
    return answer(job_text.page([looks[place] for place in places if place in looks], found.next_cursor))


@router.get("/{job_id}", response_model=Job)
async def get_job(request: Request, caller: JobsRead, job_id: str) -> Response:
    """Its description as it was resolved, its state and how it came there, its progress and result."""
    text = await services_of(request).jobs.get((caller.project, job_id))
    if text is None:
        raise jobs.no_job(job_id)
    return answer(text)


def _steered(session: Session, verb: str, row: models.Job) -> Made:
    return Made(present(session, row), change=Change(f"job.{verb}", row.id))


@router.post("/{job_id}/cancel", response_model=Job, responses=problems("invalid_state"))
def cancel_job(job_id: str, caller: JobsWrite, once: OnceDep) -> Response:
    """Asks a job to stop; one that does not run is cancelled at once."""
    return once.write(
        None, lambda session: _steered(session, "cancel", jobs.cancel(session, caller.project, job_id, clock.now()))
    )


@router.post("/{job_id}/pause", response_model=Job, responses=problems("invalid_state"))
def pause_job(job_id: str, caller: JobsWrite, once: OnceDep) -> Response:
    """Asks a job to stop with a checkpoint, from which it can be resumed."""
    return once.write(
        None, lambda session: _steered(session, "pause", jobs.pause(session, caller.project, job_id, clock.now()))
    )


@router.post("/{job_id}/resume", response_model=Job, responses=problems("invalid_state", "quota_exceeded"))
def resume_job(job_id: str, services: ServicesDep, caller: JobsWrite, once: OnceDep) -> Response:
    """Queues a paused job again; it goes on from its last checkpoint. 429 where the project's queue is full."""

    def work(session: Session) -> Made:
        now = clock.now()
        if jobs.get(session, caller.project, job_id).state == JobState.PAUSED:
            quotas.check_resume(session, caller.project, Limits.of(services.settings), now)
        return _steered(session, "resume", jobs.resume(session, caller.project, job_id, now))

    return once.write(None, work)


@router.delete("/{job_id}", responses=problems("invalid_state"))
def delete_job(job_id: str, caller: JobsWrite, changes: ChangesDep) -> Deleted:
    """Hides a job that has ended; its contributions stay in P."""
    change = Change("job.delete", job_id)
    changes.write(change, lambda session: jobs.delete(session, caller.project, job_id, clock.now()))
    return Deleted(id=job_id)
