"""The dataset that a request's body names: registered on the way where it is a URI or built in."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from api import quotas
from api.changes import Change
from api.deps import Services
from service import datasets
from service.access import Caller
from service.db import models
from service.spec import DatasetRef


def data_of(services: Services, caller: Caller, ref: DatasetRef) -> Callable[[], models.Dataset]:
    """How to find it, which may take time and is noted in the audit log where it registers something.

    Raises Forbidden at once where a `uri` is named and the caller lacks `datasets:write`.
    """
    if ref.uri is not None:
        caller.require("datasets:write")

    def noted(session: Session, row: models.Dataset) -> None:
        if row.uploaded:  # fetched from the hub, and kept here
            quotas.claim(session, services, caller, row.size or 0)
        Change("dataset.register", row.id, {"sha256": row.sha256, "size": row.size}).record(session, caller)

    def find() -> models.Dataset:
        return datasets.for_spec(services.database, services.storage, services.settings, caller.project, ref, noted)

    return find
