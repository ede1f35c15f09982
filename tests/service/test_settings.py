"""Settings from variables and from files of secrets, and what of them may travel."""

from pathlib import Path

import pytest

from service.settings import SECRETS, Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "warpadam_database_url").write_text("postgresql://ada:secret@db/warpadam\n")
    (tmp_path / "warpadam_data_stores").write_text('[{"prefix": "s3://a/", "options": {"secret": "of-a"}}]')
    (tmp_path / "aws_credentials").write_text("of others")
    monkeypatch.setenv("WARPADAM_SECRETS_DIR", str(tmp_path))
    return tmp_path


def test_secrets_are_read_from_files(folder: Path) -> None:
    settings = Settings()
    assert settings.database == "postgresql+psycopg://ada:secret@db/warpadam"
    assert settings.secrets_dir == folder


def test_variables_go_before_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPADAM_DATABASE_URL", "sqlite:///here.db")
    assert Settings().database == "sqlite:///here.db"


def test_what_travels_has_no_secrets_and_finds_them_again(folder: Path) -> None:
    settings = Settings(port=1)
    assert settings.data_stores[0].options["secret"].get_secret_value() == "of-a"
    assert "secret@" not in settings.without_secrets().model_dump_json()
    assert settings.without_secrets().data_stores == ()
    assert settings.without_secrets().with_secrets() == settings


def test_without_a_folder_nothing_changes() -> None:
    settings = Settings(database_url="sqlite:///here.db")
    assert settings.without_secrets() is settings.with_secrets() is settings
    assert set(Settings.model_fields) >= SECRETS
