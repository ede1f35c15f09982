"""check finds what is damaged, what is missing and what does not fit, and leaves alone what is well."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from service import blobs
from service.__main__ import main
from service.db.models import BlobPiece, Dataset
from service.db.session import Database, head
from service.integrity import check
from service.settings import Settings
from service.storage import Storage
from tests.families import contribution, make_family, make_job
from tests.service.kit import NOW, Bench
from workers.meta.learner import Learner


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=database_url)


def stored_dataset(settings: Settings, database: Database, data: bytes = b"rows") -> Path:
    """A dataset that was uploaded; its file."""
    stored = Storage(settings.storage).put("datasets", data)
    row = Dataset(id="ds_1", project="p", state="ready", options={}, uploaded=True, uri=stored.path, created_at=NOW)
    row.sha256, row.size = stored.sha256, stored.size
    database.write(lambda session: session.add(row))
    return Path(settings.storage) / stored.path


def learned(settings: Settings, database: Database) -> Path:
    """A family with a version from one contribution; the contribution's file."""
    family = make_family(database)
    job = make_job(database, family)
    learner = Learner(database, Storage(settings.storage), settings, family.id)
    learner.exchange(contribution(job, 0, 50).encode(), job.token, job.id, None, None)
    learner.finalize(job.id, job.token)
    learner.close()
    (path,) = (Path(settings.storage) / "statistics").glob("*/*")
    return path


def test_a_database_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    (problem,) = check(Settings(data_dir=tmp_path / "typo")).problems
    assert "no database" in problem
    assert not (tmp_path / "typo").exists()


def test_a_database_without_tables_is_told(tmp_path: Path) -> None:
    (tmp_path / "warpadam.db").touch()
    (problem,) = check(Settings(data_dir=tmp_path)).problems
    assert "db upgrade" in problem


def test_a_database_of_an_older_version_is_told(sqlite_url: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0001'")
        raw.commit()
    (problem,) = check(Settings(data_dir=tmp_path, database_url=sqlite_url)).problems
    assert "schema 0001" in problem


def test_commands_answer_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--json", "--data-dir", str(tmp_path / "new")]  # upgrade makes the folder too
    assert main(["upgrade", *folder]) == 0
    assert json.loads(capsys.readouterr().out) == {"upgraded": True, "schema": head()}
    assert main(["check", *folder]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"problems": [], "checked": {"blobs": 0, "files": 0, "families": 0}}


def test_a_database_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARPADAM_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:9/none")
    assert main(["upgrade"]) == 2
    error = capsys.readouterr().err
    assert "does not work" in error
    assert "secret" not in error


def test_a_sound_database_has_no_problems(settings: Settings, database: Database) -> None:
    Bench(database).submit()
    stored_dataset(settings, database)
    learned(settings, database)
    report = check(settings)
    assert report.problems == []
    assert report.checked["files"] == 2
    assert report.checked["blobs"] > 0
    assert report.checked["families"] == 2


def test_a_damaged_blob_is_found(settings: Settings, database: Database) -> None:
    sha256 = database.write(lambda session: blobs.put(session, b"whole"))
    with database.engine.begin() as connection:
        connection.execute(BlobPiece.__table__.update().values(data=b"wrong"))  # type: ignore[attr-defined]
    (problem,) = check(settings).problems
    assert sha256 in problem


@pytest.mark.parametrize(
    ("harm", "said"),
    [(Path.unlink, "is not there"), (lambda path: path.write_bytes(b"sowr"), "is damaged")],
    ids=["missing", "damaged"],
)
def test_a_file_that_a_row_names_is_looked_at(
    sqlite_url: str, tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    settings, database = Settings(data_dir=tmp_path, database_url=sqlite_url), Database(sqlite_url)
    harm(stored_dataset(settings, database))
    database.dispose()
    (problem,) = check(settings).problems
    assert said in problem
    assert "datasets ds_1" in problem


def test_a_file_of_another_size_than_its_row_says(settings: Settings, database: Database) -> None:
    stored_dataset(settings, database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE datasets SET size = 3"))
    (problem,) = check(settings).problems
    assert "has 4 bytes, not 3" in problem


def test_a_reference_to_nothing_is_found(sqlite_url: str, tmp_path: Path) -> None:
    settings, database = Settings(data_dir=tmp_path, database_url=sqlite_url), Database(sqlite_url)
    Bench(database).submit()
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        raw.execute("DELETE FROM datasets")
        raw.commit()
    database.dispose()
    assert any("jobs" in problem and "datasets" in problem for problem in check(settings).problems)


def test_an_alias_of_no_version_is_found(settings: Settings, database: Database) -> None:
    learned(settings, database)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE aliases SET version = 99 WHERE name = 'latest'"))
    (problem,) = check(settings).problems
    assert "patches@latest is version 99" in problem


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('UPDATE contributions SET "end" = 40', "is not the contribution"),
        (f"UPDATE warp_versions SET statistics_digest = '{'0' * 64}'", "statistics digest"),
    ],
)
def test_a_ledger_that_is_not_its_p_is_found(sqlite_url: str, tmp_path: Path, statement: str, said: str) -> None:
    settings, database = Settings(data_dir=tmp_path, database_url=sqlite_url), Database(sqlite_url)
    learned(settings, database)
    with database.engine.begin() as connection:
        connection.execute(text(statement))
    database.dispose()
    assert any(said in problem and "family patches" in problem for problem in check(settings).problems)


def test_a_proof_that_cannot_be_made_is_a_problem(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "WARPADAM_POLL_S", "never")
    settings = Settings.model_construct(data_dir=tmp_path, database_url=sqlite_url, storage_url="")
    assert any("could not be checked" in problem for problem in check(settings).problems)
