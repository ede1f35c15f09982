"""An archive is whole though everything is in use, and comes back as what it was; nothing is written over."""

import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from service.__main__ import main
from service.backup import BackupError, backup, restore
from service.db.models import Dataset
from service.db.session import Database
from service.integrity import check
from service.settings import Settings
from service.storage import Storage
from tests.fixtures.database import postgres_programs
from tests.service.kit import NOW, Bench
from tests.service.test_integrity import learned, stored_dataset


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if database_url.startswith("postgresql"):
        monkeypatch.setenv("PATH", postgres_programs(), prepend=":")
    return Settings(data_dir=tmp_path / "live", database_url=database_url, storage_url=str(tmp_path / "live/storage"))


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Where nothing is yet, of the same kind of database."""
    storage = str(tmp_path / "new/storage")
    if settings.database.startswith("sqlite"):
        yield Settings(data_dir=tmp_path / "new", storage_url=storage)
        return
    name, url = "wa_restored_" + tmp_path.parent.name.replace("-", "_"), make_url(settings.database)
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE IF EXISTS "{name}"'))
        connection.execute(text(f'CREATE DATABASE "{name}"'))
    new = url.set(database=name).render_as_string(hide_password=False)
    yield Settings(data_dir=tmp_path / "new", database_url=new, storage_url=storage)
    with engine.connect() as connection:
        connection.execute(text(f'DROP DATABASE "{name}" WITH (FORCE)'))
    engine.dispose()


def test_what_was_backed_up_comes_back(
    settings: Settings, elsewhere: Settings, database: Database, tmp_path: Path
) -> None:
    job = Bench(database).submit()
    stored_dataset(settings, database)
    learned(settings, database)
    archive = tmp_path / "backups" / "one.tar"
    made = backup(settings, archive)
    assert archive.stat().st_mode & 0o077 == 0
    assert [path.name for path in archive.parent.iterdir()] == ["one.tar"]
    restore(elsewhere, archive)
    restored = Database(elsewhere.database)
    assert Bench(restored).job(job.id).spec == job.spec
    restored.dispose()
    assert check(elsewhere).problems == []
    assert len(made.sha256) == 1 + len(Storage(elsewhere.storage).files()) == 3
    with pytest.raises(BackupError, match=r"already|not empty"):
        restore(elsewhere, archive)
    with pytest.raises(BackupError, match="there already"):
        backup(settings, archive)


def test_a_backup_fits_together_while_files_come_and_go(
    settings: Settings, elsewhere: Settings, database: Database, tmp_path: Path
) -> None:
    """A writer stores a file, names it, and deletes the one before: what the archive names, it must hold."""
    stop, storage = threading.Event(), Storage(settings.storage)

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            stored_dataset_of(database, storage, number)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        made = backup(settings, tmp_path / "busy.tar")
    finally:
        stop.set()
        writer.join()
    assert made.damaged == []
    restore(elsewhere, tmp_path / "busy.tar")
    assert check(elsewhere).problems == []


def stored_dataset_of(database: Database, storage: Storage, number: int) -> None:
    stored = storage.put("datasets", f"rows {number}".encode())
    row = Dataset(id="ds_1", project="p", state="ready", options={}, uploaded=True, uri=stored.path, created_at=NOW)
    row.size = stored.size
    database.write(lambda session: session.merge(row))
    if number > 8:
        storage.delete(storage.put("datasets", f"rows {number - 8}".encode()).path)


@pytest.fixture
def on_sqlite(sqlite_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "live", database_url=sqlite_url, storage_url=str(tmp_path / "live/storage"))


def test_a_damaged_file_is_left_out_and_told(
    on_sqlite: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database(on_sqlite.database)
    path = stored_dataset(on_sqlite, database)
    path.write_bytes(b"sowr")
    database.dispose()
    monkeypatch.setenv("WARPADAM_DATABASE_URL", on_sqlite.database)
    monkeypatch.setenv("WARPADAM_STORAGE_URL", on_sqlite.storage)
    assert main(["backup", "--json", "-o", str(tmp_path / "a.tar")]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["damaged"] == [str(path.relative_to(on_sqlite.storage))]
    assert said["files"] == 0


def test_damage_to_an_archive_is_found_before_anything_is_served(on_sqlite: Settings, tmp_path: Path) -> None:
    database = Database(on_sqlite.database)
    stored_dataset(on_sqlite, database, b"R" * 999)
    database.dispose()
    archive = tmp_path / "a.tar"
    backup(on_sqlite, archive)
    archive.write_bytes(archive.read_bytes().replace(b"R" * 999, b"S" * 999))
    target = Settings(data_dir=tmp_path / "new")
    with pytest.raises(BackupError, match="damaged"):
        restore(target, archive)
    assert not (tmp_path / "new" / "warpadam.db").exists()
    assert Storage(target.storage).files() == []


def test_an_archive_that_was_cut_short_is_none(on_sqlite: Settings, tmp_path: Path) -> None:
    backup(on_sqlite, tmp_path / "a.tar")
    (tmp_path / "cut.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:2000])
    with tarfile.open(tmp_path / "other.tar", "w"):
        pass
    for name in ("cut.tar", "other.tar", "none.tar"):
        with pytest.raises(BackupError, match="no whole backup"):
            restore(Settings(data_dir=tmp_path / "new"), tmp_path / name)


def test_an_archive_is_of_one_kind_of_database(on_sqlite: Settings, tmp_path: Path) -> None:
    backup(on_sqlite, tmp_path / "a.tar")
    with pytest.raises(BackupError, match="sqlite database"):
        restore(Settings(data_dir=tmp_path, database_url="postgresql://somewhere/db"), tmp_path / "a.tar")


def test_without_a_database_nothing_is_copied(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="--data-dir"):
        backup(Settings(data_dir=tmp_path), tmp_path / "copy.tar")
    assert list(tmp_path.iterdir()) == []


def test_postgresql_needs_its_own_program(postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupError, match="pg_dump"):
        backup(Settings(data_dir=tmp_path, database_url=postgres_url), tmp_path / "copy.tar")
