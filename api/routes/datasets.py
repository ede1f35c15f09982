"""Datasets: upload or name one, see what was understood of it."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from api import digests, quotas, uploads
from api.bodies import read_json, validate
from api.changes import Change, ChangesDep
from api.deps import DatasetsRead, DatasetsWrite, PageDep, ReadSession, Services, ServicesDep
from api.idempotency import Made, OnceDep
from api.problems import MADE, UPLOAD, problems
from api.schemas.common import Deleted, Listing, sendable
from api.schemas.datasets import NAMED, Dataset
from service import clock, datasets, examining, inspecting, origins
from service.access import Caller
from service.data.source import BuiltinSource
from service.db import models
from service.errors import InvalidRequest
from service.spec import DatasetOptions, DatasetRef

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])

STORED_AS = "datasets"
SHA256 = {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"}


def _body_schema() -> dict[str, Any]:
    """OpenAPI's description of the two bodies; the form has the options' fields, then the file."""
    form = DatasetOptions.model_json_schema()
    form["properties"] = {name: sendable(each) for name, each in form["properties"].items()}
    form["properties"]["file"] = {"type": "string", "format": "binary", "description": "The form's last part."}
    form["properties"]["sha256"] = {**SHA256, "description": "Of the file, in hex; compared when it is here."}
    form["required"] = ["file"]
    named = DatasetRef.model_json_schema()
    del named["properties"]["id"]
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": named, "examples": NAMED},
            },
        }
    }


@router.post(
    "",
    status_code=201,
    response_model=Dataset,
    openapi_extra=_body_schema(),
    responses={201: MADE, **problems(*UPLOAD)},
)
def register_dataset(request: Request, services: ServicesDep, caller: DatasetsWrite, once: OnceDep) -> Response:
    """Registers a dataset: a form with a file, or JSON with `uri` or `builtin`. Small files are read at once.

    Of a large one the answer has the state `inspecting`, and `progress` until it is `ready` or `invalid`.
    """
    if uploads.is_form(request):
        fingerprint, origin, options = _uploaded(request, services, caller)
    else:
        fingerprint, origin, options = _named(request, caller)

    def prepare() -> Callable[[Session], Made]:
        if isinstance(origin, origins.Uploaded) and inspecting.is_large(services.settings, origin):
            return lambda session: _begin(session, origin, options, services, caller)
        examined = examining.examine(services.storage, services.settings, origin, options)
        return lambda session: _add(session, examined, services, caller)

    answer = once.plan(fingerprint, prepare)
    services.inspector.wake()
    return answer


def _uploaded(request: Request, services: Services, caller: Caller) -> tuple[object, origins.Origin, DatasetOptions]:
    """The file goes to the storage while it is hashed; there its content is its name."""
    if not uploads.is_form(request):
        raise InvalidRequest("send the file as the last part of a multipart form", param="file")
    form = uploads.Form(request)
    given = {name: value for name, value in form.fields.items() if value}
    sha256 = given.pop("sha256", None)
    options = validate(DatasetOptions, given, strict=False)
    stored = quotas.store(services, caller, request, STORED_AS, digests.checked(form.file(), sha256))
    filename = uploads.plain_name(form.filename, "upload")
    return {"options": given, "sha256": stored.sha256}, origins.Uploaded(stored, filename), options


def _named(request: Request, caller: Caller) -> tuple[object, origins.Origin, DatasetOptions]:
    ref = read_json(request, DatasetRef)
    if ref.id is not None:
        raise InvalidRequest("the service chooses ids; give uri or builtin", param="id")
    options = DatasetOptions(**{name: getattr(ref, name) for name in DatasetOptions.model_fields})
    origin: origins.Origin
    origin = BuiltinSource(ref.builtin, ref.part) if ref.builtin else origins.outside_origin(ref, caller.project)
    return ref, origin, options


def _add(session: Session, examined: examining.Examined, services: Services, caller: Caller) -> Made:
    if isinstance(examined.origin, origins.Uploaded):
        quotas.claim(session, services, caller, examined.origin.stored.size)
    return _made(datasets.add(session, caller.project, examined, clock.now()))


def _begin(
    session: Session, origin: origins.Uploaded, options: DatasetOptions, services: Services, caller: Caller
) -> Made:
    quotas.claim(session, services, caller, origin.stored.size)
    return _made(datasets.begin(session, caller.project, origin, options, clock.now()))


def _made(row: models.Dataset) -> Made:
    change = Change("dataset.register", row.id, {"sha256": row.sha256, "size": row.size})
    return Made(Dataset.of(row), 201, f"/v1/datasets/{row.id}", change)


@router.get("")
def list_datasets(session: ReadSession, caller: DatasetsRead, page: PageDep) -> Listing[Dataset]:
    """Newest first."""
    found = datasets.list_(session, caller.project, page)
    return Listing[Dataset].of_page(found, [Dataset.of(row) for row in found.items])


@router.get("/{dataset_id}")
def get_dataset(session: ReadSession, caller: DatasetsRead, dataset_id: str) -> Dataset:
    """What was understood of it, or what is wrong with it; while it is `inspecting`, how far that is."""
    return Dataset.of(datasets.get(session, caller.project, dataset_id))


@router.delete("/{dataset_id}", responses=problems("in_use"))
def delete_dataset(dataset_id: str, caller: DatasetsWrite, changes: ChangesDep) -> Deleted:
    """Hides a dataset that no unfinished job needs."""
    change = Change("dataset.delete", dataset_id)
    changes.write(change, lambda session: datasets.delete(session, caller.project, dataset_id, clock.now()))
    return Deleted(id=dataset_id)
