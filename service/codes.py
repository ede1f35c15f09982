"""Whether a job may bring code of its own, and which package that is: settled, and pinned by its sha256, at submit."""

import hashlib
from contextlib import ExitStack
from typing import Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from service import datasets, origins
from service.data import DataError, FileSource, packages
from service.data.packages import PackageInfo
from service.db.models import Dataset
from service.errors import BadReference, DatasetNotReady, Forbidden, InvalidRequest, ServiceError
from service.settings import Settings
from service.spec import JobSpec
from service.spec_models import CodeModel
from service.storage import Storage

Refusal = Literal["server", "key"]
"""Who does not allow it."""

_REFUSED = {
    "server": "This server runs no uploaded code: use model.arch mlp, convnet or transformer, or ask who runs it to "
    "set WARPADAM_ALLOW_CODE.",
    "key": "This key may not run code: ask an admin of the project for one with the scope code:run.",
}


class Package(BaseModel):
    """The package of a job's code, as it was at submit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    dataset_id: str
    sha256: str


def package_of(session: Session, project: str, spec: JobSpec, refusal: Refusal | None) -> Package | None:
    """None for a model of ours. From here to the commit nobody can delete the package.

    Raises Forbidden (`code_disabled`), BadReference, DatasetNotReady, and InvalidRequest for what is not in it.
    """
    model = spec.model
    if not isinstance(model, CodeModel):
        return None
    if refusal is not None:
        raise Forbidden(_REFUSED[refusal], param="model.entrypoint", code="code_disabled")
    row = session.get(Dataset, model.package, with_for_update={"read": True}, populate_existing=True)
    if row is None or row.project != project or row.deleted_at is not None:
        message = f"There is no dataset {model.package}: upload the package first (format: package), or check the id."
        raise BadReference(message, param="model.package", code="dataset_not_found")
    if not datasets.is_package(row):
        message = (
            f"{row.id} is data ({row.options.get('format') or 'built in'}), no package of code: upload a zip or a "
        )
        raise InvalidRequest(f"{message}wheel with format: package.", param="model.package")
    if row.state != "ready" or row.info is None or row.sha256 is None:
        raise DatasetNotReady(f"The package {row.id} is {row.state}: {row.error or 'wait until it is ready.'}")
    if problem := PackageInfo.model_validate(row.info).problem(model.entrypoint):
        raise InvalidRequest(f"model.entrypoint: {problem}", param="model.entrypoint")
    return Package(dataset_id=row.id, sha256=row.sha256)


def open_package(storage: Storage, settings: Settings, row: Dataset, sha256: str) -> bytes:
    """The bytes of a ready package of code. Raises DataError where they are gone, or not those of `sha256`."""
    with ExitStack() as stack:
        try:
            source, _ = stack.enter_context(origins.opened(storage, settings, origins.origin_of(row)))
        except ServiceError as error:
            raise DataError(f"The package {row.id} cannot be read any more. {error.detail}") from error
        if not isinstance(source, FileSource):
            raise DataError(f"The package {row.id} is one file no more: register it again and use the new id.")
        with source.open() as file:
            found = packages.read(file)
    if hashlib.sha256(found).hexdigest() != sha256:
        raise DataError(f"The package {row.id} has changed since the job was submitted: register it again.")
    return found
