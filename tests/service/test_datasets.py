"""The datasets' use cases, on both databases."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.orm import Session

from service import datasets, origins
from service.data import BuiltinSource, DataError, builtin
from service.data import reading as data_reading
from service.db.models import Dataset, Family, Job
from service.db.session import Database
from service.errors import BadReference, DatasetNotReady, InUse, InvalidRequest, NotFound, TooLarge
from service.ids import new_id
from service.origins import Outside, Uploaded
from service.pages import PageRequest
from service.settings import Settings
from service.spec import DatasetOptions, DatasetRef
from service.storage import Storage

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OPTIONS = DatasetOptions()
DIGITS = BuiltinSource("digits")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "root").mkdir()
    return Settings(data_dir=tmp_path, data_roots=(tmp_path / "root",))


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings.storage)


def npz(offset: float = 0) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.arange(40.0).reshape(20, 2) + offset, y=np.arange(20) % 2)
    return buffer.getvalue()


def upload(storage: Storage, content: bytes, filename: str = "data.npz") -> Uploaded:
    return Uploaded(storage.put("datasets", content), filename)


def register(database: Database, storage: Storage, settings: Settings, origin: origins.Origin) -> Dataset:
    return datasets.register(database, storage, settings, "default", origin, options=OPTIONS)


def test_an_upload(database: Database, storage: Storage, settings: Settings) -> None:
    row = register(database, storage, settings, upload(storage, npz()))
    assert (row.state, row.name, row.uploaded, row.error) == ("ready", "data.npz", True, None)
    assert row.options["format"] == "npz"
    with database.read() as session:
        found = datasets.get(session, "default", row.id)
    assert datasets.info(found).classes == [0, 1]
    arrays = datasets.open_arrays(storage, settings, found, "classification")
    assert arrays.x_train.shape == (18, 2)
    assert arrays.info == datasets.info(found)


def test_an_upload_that_cannot_be_used_is_invalid_and_says_why(
    database: Database, storage: Storage, settings: Settings
) -> None:
    row = register(database, storage, settings, upload(storage, b"not an archive"))
    assert row.state == "invalid"
    assert row.error
    assert row.info is None
    with pytest.raises(DatasetNotReady, match=r"numpy\.savez"):
        datasets.for_spec(database, storage, settings, "default", DatasetRef(id=row.id))


def test_equal_built_ins_are_one_row_found_without_reading(
    database: Database, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = register(database, storage, settings, DIGITS)

    def no_reading(source: BuiltinSource) -> None:
        raise AssertionError(f"{source} was read again")

    monkeypatch.setattr(builtin, "digest", no_reading)
    monkeypatch.setattr(data_reading.builtin, "read", no_reading)
    assert register(database, storage, settings, DIGITS).id == first.id
    assert datasets.for_spec(database, storage, settings, "default", DatasetRef(builtin="digits")).id == first.id


def test_other_options_projects_and_releases_are_other_rows(
    database: Database, storage: Storage, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {register(database, storage, settings, DIGITS).id}
    for options in (DatasetOptions(split_seed=1), DatasetOptions(normalize="standard"), DatasetOptions(name="d")):
        ids.add(datasets.register(database, storage, settings, "default", DIGITS, options=options).id)
    ids.add(datasets.register(database, storage, settings, "other", DIGITS, options=OPTIONS).id)
    monkeypatch.setattr(builtin, "release", lambda _: "scikit-learn 99")
    ids.add(register(database, storage, settings, DIGITS).id)
    assert len(ids) == 6


def test_a_built_in_in_a_description(database: Database, storage: Storage, settings: Settings) -> None:
    ref = DatasetRef(builtin="python-text", part="json", val_fraction=0.3)
    row = datasets.for_spec(database, storage, settings, "default", ref)
    assert row.name == "python-text/json"
    arrays = datasets.open_arrays(storage, settings, row, "language_modeling")
    assert len(arrays.x_val) == round(0.3 * (arrays.info.train + arrays.info.val))
    with pytest.raises(InvalidRequest, match="no part 'nothing'") as caught:
        datasets.for_spec(database, storage, settings, "default", DatasetRef(builtin="python-text", part="nothing"))
    assert caught.value.param == "dataset.part"


def test_an_address_in_a_description(database: Database, storage: Storage, settings: Settings) -> None:
    path = settings.data_roots[0] / "a.npz"
    path.write_bytes(npz())
    ref = DatasetRef(uri=str(path))
    row = datasets.for_spec(database, storage, settings, "default", ref)
    assert (row.state, row.uploaded, row.name) == ("ready", False, "a.npz")
    assert datasets.for_spec(database, storage, settings, "default", ref).id == row.id
    path.write_bytes(npz(offset=1))
    with pytest.raises(DataError, match="changed since"):
        datasets.open_arrays(storage, settings, row, "classification")
    assert datasets.for_spec(database, storage, settings, "default", ref).id != row.id
    path.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        datasets.open_arrays(storage, settings, row, "classification")


def test_mistakes_in_a_description(database: Database, storage: Storage, settings: Settings) -> None:
    def mistake(ref: DatasetRef) -> InvalidRequest:
        with pytest.raises(InvalidRequest) as caught:
            datasets.for_spec(database, storage, settings, "default", ref)
        return caught.value

    missing = mistake(DatasetRef(id=new_id("ds")))
    assert isinstance(missing, BadReference)
    assert (missing.error_code, missing.param) == ("dataset_not_found", "dataset.id")
    assert mistake(DatasetRef(uri="/etc/passwd")).param == "dataset.uri"
    (settings.data_roots[0] / "a.csv").write_text("a,b\n1,2\n")
    unusable = mistake(DatasetRef(uri=str(settings.data_roots[0] / "a.csv")))
    assert "target" in unusable.detail
    assert unusable.param == "dataset.uri"
    other = datasets.register(database, storage, settings, "other", DIGITS, options=OPTIONS)
    assert mistake(DatasetRef(id=other.id)).error_code == "dataset_not_found"


def test_a_file_larger_than_accepted(database: Database, storage: Storage, settings: Settings) -> None:
    path = settings.data_roots[0] / "a.npz"
    path.write_bytes(npz())
    small = settings.model_copy(update={"max_upload_bytes": 100})
    with pytest.raises(TooLarge):
        register(database, storage, small, Outside(str(path), "default"))


def test_lists_are_newest_first_and_a_project_s_own(database: Database, storage: Storage, settings: Settings) -> None:
    rows = [register(database, storage, settings, upload(storage, npz(i))) for i in range(3)]
    datasets.register(database, storage, settings, "other", DIGITS, options=OPTIONS)
    with database.read() as session:
        page = datasets.list_(session, "default", PageRequest(limit=2))
        rest = datasets.list_(session, "default", PageRequest(limit=2, after=page.next_cursor))
    assert [row.id for row in (*page.items, *rest.items)] == sorted((row.id for row in rows), reverse=True)


def test_deleting_hides(database: Database, storage: Storage, settings: Settings) -> None:
    row = register(database, storage, settings, DIGITS)
    database.write(lambda session: datasets.delete(session, "default", row.id, NOW))
    with database.read() as session:
        assert datasets.list_(session, "default", PageRequest()).items == []
        for project in ("default", "other"):
            with pytest.raises(NotFound):
                datasets.get(session, project, row.id)
    with pytest.raises(NotFound):
        database.write(lambda session: datasets.delete(session, "default", row.id, NOW))
    assert register(database, storage, settings, DIGITS).id != row.id


@pytest.mark.parametrize(("state", "in_use"), [("queued", True), ("paused", True), ("succeeded", False)])
def test_what_an_unfinished_job_needs_is_kept(
    database: Database, storage: Storage, settings: Settings, state: str, in_use: bool
) -> None:
    row = register(database, storage, settings, DIGITS)
    job_id = new_id("job")
    database.write(lambda session: _add_job(session, job_id, row.id, state))
    if not in_use:
        database.write(lambda session: datasets.delete(session, "default", row.id, NOW))
        return
    with pytest.raises(InUse, match=job_id):
        database.write(lambda session: datasets.delete(session, "default", row.id, NOW))


def _add_job(session: Session, id_: str, dataset_id: str, state: str) -> None:
    family = Family(project="default", name="f", created_at=NOW)
    session.add(family)
    session.flush()
    session.add(
        Job(
            id=id_,
            project="default",
            family_id=family.id,
            dataset_id=dataset_id,
            state=state,
            spec={},
            spec_version=1,
            resolved={},
            progress_of=1,
            created_at=NOW,
        )
    )
