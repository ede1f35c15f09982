"""check finds what is damaged; backup copies what is in use."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from service import blobs
from service.__main__ import main
from service.db.models import BlobPiece
from service.db.session import Database
from service.maintenance import CannotBackUpError, backup, check
from service.settings import Settings
from tests.service.kit import Bench


def test_a_database_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    (problem,) = check(Settings(data_dir=tmp_path / "typo"))
    assert "no database" in problem
    assert not (tmp_path / "typo").exists()


def test_a_database_without_tables_is_told(tmp_path: Path) -> None:
    (tmp_path / "warpadam.db").touch()
    (problem,) = check(Settings(data_dir=tmp_path))
    assert "db upgrade" in problem


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["upgrade", "--json"], {"upgraded": True}),
        (["check", "--json"], {"problems": []}),
    ],
)
def test_commands_answer_in_json(
    command: list[str], said: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ["--data-dir", str(tmp_path / "new")]
    assert main(["upgrade", *folder]) == 0  # makes the folder too
    capsys.readouterr()
    assert main([*command, *folder]) == 0
    assert json.loads(capsys.readouterr().out) == said


def test_a_database_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WARPADAM_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:9/none")
    assert main(["upgrade"]) == 2
    error = capsys.readouterr().err
    assert "does not work" in error
    assert "secret" not in error


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=database_url)


def test_a_sound_database_has_no_problems(settings: Settings, database: Database) -> None:
    Bench(database).submit()
    database.write(lambda session: blobs.put(session, b"whole"))
    assert check(settings) == []


def test_a_damaged_file_is_found(settings: Settings, database: Database) -> None:
    sha256 = database.write(lambda session: blobs.put(session, b"whole"))
    with database.engine.begin() as connection:
        connection.execute(BlobPiece.__table__.update().values(data=b"wrong"))  # type: ignore[attr-defined]
    (problem,) = check(settings)
    assert sha256 in problem


def test_a_reference_to_nothing_is_found(sqlite_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url)
    database = Database(sqlite_url)
    Bench(database).submit()
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as raw:
        raw.execute("DELETE FROM datasets")
        raw.commit()
    assert any("jobs" in problem and "datasets" in problem for problem in check(settings))
    database.dispose()


def test_a_backup_is_whole_while_the_database_is_written(sqlite_url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url)
    database = Database(sqlite_url)
    job = Bench(database).submit()
    copy = tmp_path / "backups" / "copy.db"
    with database.engine.connect() as reading:
        reading.execute(text("SELECT 1"))
        backup(settings, copy)
    database.dispose()
    with closing(sqlite3.connect(copy)) as copied:
        assert copied.execute("SELECT id FROM jobs").fetchall() == [(job.id,)]
    with pytest.raises(CannotBackUpError, match="there already"):
        backup(settings, copy)


def test_without_a_database_nothing_is_copied(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUpError, match="--data-dir"):
        backup(Settings(data_dir=tmp_path), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_postgresql_has_its_own_tool(tmp_path: Path) -> None:
    with pytest.raises(CannotBackUpError, match="pg_dump"):
        backup(Settings(data_dir=tmp_path, database_url="postgresql://somewhere/db"), tmp_path / "copy.db")
