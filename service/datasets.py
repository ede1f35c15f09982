"""Datasets: registering, finding and opening them.

Registering is two steps, so that no transaction waits for I/O: `examining.examine` reads the data and says what it is,
`add` writes the row. Data that cannot be used becomes a row too, `invalid`, whose `error` says what to do. What was
registered is pinned by its sha256: `open_arrays` refuses data that has changed since. Equal built-ins and equal outside
data are one row, so the same job description always means the same dataset.
"""

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service import data
from service.data.source import BuiltinSource
from service.db.models import Dataset, Job
from service.db.session import Database
from service.errors import BadReference, DatasetNotReady, InUse, InvalidRequest, NotFound, ServiceError
from service.examining import PACKAGE, Examined, examine, examine_fetched, of_hub
from service.hub import loading
from service.ids import new_id
from service.origins import Origin, Uploaded, limits, name_of, opened, origin_of, outside_origin, stored_options, uri_of
from service.pages import Page, PageRequest, paginate
from service.settings import Settings
from service.spec import DatasetOptions, DatasetRef, Task
from service.states import TERMINAL
from service.storage import Storage

_ENDED = [str(state) for state in TERMINAL]


def add(session: Session, project: str, examined: Examined, now: datetime) -> Dataset:
    """The row of what was examined; an equal one that is already there, unless a user uploaded it."""
    options = stored_options(examined.origin, examined.options)
    if not isinstance(examined.origin, Uploaded) or examined.origin.hub:
        found = _equal(session, project, examined.origin, options, examined.sha256)
        if found is not None:
            return found
    row = _row(project, examined.origin, examined.options, now)
    conclude(row, examined)
    session.add(row)
    session.flush()
    return row


def begin(session: Session, project: str, upload: Uploaded, options: DatasetOptions, now: datetime) -> Dataset:
    """The row of an upload that is still to be examined (`service.inspecting`)."""
    row = _row(project, upload, options, now)
    row.sha256, row.size = upload.stored.sha256, upload.stored.size
    session.add(row)
    session.flush()
    return row


def conclude(row: Dataset, examined: Examined) -> None:
    """Writes down what was found."""
    row.state = "ready" if examined.info else "invalid"
    row.options = stored_options(examined.origin, examined.options)
    row.sha256, row.size = examined.sha256, examined.size
    row.info = examined.info.model_dump(mode="json") if examined.info else None
    row.error = examined.error


def _row(project: str, origin: Origin, options: DatasetOptions, now: datetime) -> Dataset:
    return Dataset(
        id=new_id("ds"),
        project=project,
        name=data.printable(options.name or name_of(origin), 200),
        state="inspecting",
        options=stored_options(origin, options),
        uri=uri_of(origin),
        uploaded=isinstance(origin, Uploaded),
        created_at=now,
    )


Noted = Callable[[Session, Dataset], None]
"""Called with a new row, in its transaction."""


def register(
    database: Database,
    storage: Storage,
    settings: Settings,
    project: str,
    origin: Origin,
    *,
    options: DatasetOptions,
    noted: Noted = lambda _session, _row: None,
) -> Dataset:
    """`examine` and `add`; a built-in that was registered before is found without reading it."""
    if isinstance(origin, BuiltinSource):
        with database.read() as session:
            found = _equal(session, project, origin, stored_options(origin, options), None)
        if found is not None:
            return found
    examined = _examined_once(database, storage, settings, project, origin, options)
    if isinstance(examined, Dataset):
        return examined
    now = datetime.now(UTC)

    def work(session: Session) -> Dataset:
        row = add(session, project, examined, now)
        if row.created_at == now:
            noted(session, row)
        return row

    return database.write(work)


def _examined_once(
    database: Database, storage: Storage, settings: Settings, project: str, origin: Origin, options: DatasetOptions
) -> Examined | Dataset:
    """What was found; of the hub nothing is fetched that a row of this project was made from in the same way."""
    if not isinstance(origin, loading.Wanted):
        return examine(storage, settings, origin, options)
    snapshot = loading.pin(settings, origin)
    with database.read() as session:
        found = _fetched_before(session, project, of_hub(origin, snapshot, options), options)
    return found or examine_fetched(storage, settings, origin, snapshot, options)


def for_spec(
    database: Database,
    storage: Storage,
    settings: Settings,
    project: str,
    ref: DatasetRef,
    noted: Noted = lambda _session, _row: None,
) -> Dataset:
    """The ready dataset that a job's description means; a URI or a built-in is registered on the way.

    Raises BadReference (`dataset_not_found`), DatasetNotReady, and InvalidRequest for an unusable URI or built-in.
    """
    if ref.id is not None:
        with database.read() as session:
            row = _find(session, project, ref.id)
        if row is None:
            raise BadReference(
                f"There is no dataset {ref.id}: register it first, or check the id.",
                param="dataset.id",
                code="dataset_not_found",
            )
        if row.state != "ready":
            raise DatasetNotReady(f"Dataset {row.id} is {row.state}: {row.error or 'wait until it is ready.'}")
        return row
    options = DatasetOptions(**{name: getattr(ref, name) for name in DatasetOptions.model_fields})
    origin: Origin
    if ref.builtin is not None:
        origin, param = BuiltinSource(ref.builtin, ref.part), "dataset.part" if ref.part else "dataset.builtin"
    else:
        origin, param = outside_origin(ref, project), "dataset.uri"
    try:
        row = register(database, storage, settings, project, origin, options=options, noted=noted)
    except InvalidRequest as error:
        raise InvalidRequest(error.detail, param=param, code=error.error_code) from error
    if row.state != "ready":
        raise InvalidRequest(row.error or "This data cannot be used.", param=param)
    return row


def get(session: Session, project: str, id_: str) -> Dataset:
    """Raises NotFound."""
    row = _find(session, project, id_)
    if row is None:
        raise NotFound(f"There is no dataset {id_}.")
    return row


def list_(session: Session, project: str, page: PageRequest) -> Page[Dataset]:
    """Newest first; deleted ones are not there."""
    statement = select(Dataset).where(Dataset.project == project, Dataset.deleted_at.is_(None))
    return paginate(session, statement, Dataset.id, page, newest_first=True, filters={"project": project})


def delete(session: Session, project: str, id_: str, now: datetime) -> None:
    """Hides it. Raises NotFound, and InUse while a job that has not ended needs it."""
    row = get(session, project, id_)
    session.refresh(row, with_for_update=True)
    needed = or_(Job.dataset_id == id_, Job.resolved["package"]["dataset_id"].as_string() == id_)
    users = session.scalars(select(Job.id).where(Job.state.not_in(_ENDED), needed).limit(3)).all()
    if users:
        raise InUse(f"Dataset {id_} is in use by {', '.join(users)}: cancel these or wait until they have ended.")
    row.deleted_at = now


def is_package(row: Dataset) -> bool:
    """Whether it is code; then its info, where it is ready, is a PackageInfo."""
    return row.options.get("format") == PACKAGE


def info(row: Dataset) -> data.DatasetInfo:
    """What was understood of ready data. Raises InvalidRequest for a package of code."""
    if is_package(row):
        message = f"{row.id} is a package of code, which goes into model.package: name data to train on."
        raise InvalidRequest(message, param="dataset")
    return data.DatasetInfo.model_validate(row.info)


def open_arrays(storage: Storage, settings: Settings, row: Dataset, task: Task) -> data.Arrays:
    """The arrays of a ready dataset. Raises DataError where it does not serve `task`, is gone, or has changed since."""
    options = DatasetOptions.model_validate(row.options, extra="ignore")
    with ExitStack() as stack:
        try:
            source, sha256 = stack.enter_context(opened(storage, settings, origin_of(row)))
        except ServiceError as error:
            raise data.DataError(f"The data of {row.id} cannot be read any more. {error.detail}") from error
        if sha256 != row.sha256:
            raise data.DataError(
                f"The data of {row.id} has changed since it was registered: register it again and use the new id."
            )
        return data.load(source, options, task, limits(settings))


def _find(session: Session, project: str, id_: str) -> Dataset | None:
    statement = select(Dataset).where(Dataset.id == id_, Dataset.project == project, Dataset.deleted_at.is_(None))
    return session.scalars(statement).one_or_none()


def _equal(
    session: Session, project: str, origin: Origin, options: dict[str, Any], sha256: str | None
) -> Dataset | None:
    """A ready row of the same origin and options, and of that content where `sha256` is given."""
    statement = select(Dataset).where(
        Dataset.project == project,
        Dataset.deleted_at.is_(None),
        Dataset.state == "ready",
        Dataset.uploaded.is_(isinstance(origin, Uploaded)),
        Dataset.uri == uri_of(origin),
    )
    if sha256 is not None:
        statement = statement.where(Dataset.sha256 == sha256)
    # JSON has no equality in PostgreSQL; the rows of one origin are few.
    return next((row for row in session.scalars(statement.order_by(Dataset.id)) if row.options == options), None)


def _fetched_before(session: Session, project: str, hub: dict[str, Any], options: DatasetOptions) -> Dataset | None:
    """The ready row that was made from the same commit with the same options."""
    statement = select(Dataset).where(
        Dataset.project == project,
        Dataset.deleted_at.is_(None),
        Dataset.state == "ready",
        Dataset.uploaded.is_(True),
        Dataset.options["hub"]["commit"].as_string() == hub["commit"],
    )
    asked = options.model_dump(mode="json", exclude={"format", "target"})
    for row in session.scalars(statement.order_by(Dataset.id)):
        if row.options["hub"] == hub and asked.items() <= row.options.items():
            return row
    return None
