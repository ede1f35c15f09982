"""The real app on a real database (each kind) and a real storage; only Ray and the dispatcher are absent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.deps import Services
from service.settings import Settings

BASE_URL = "http://localhost:8000"


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    roots = tmp_path / "roots"
    roots.mkdir()
    return Settings(data_dir=tmp_path, database_url=database_url, data_roots=(roots,), max_upload_bytes=4_000_000)


@pytest.fixture
def app(settings: Settings) -> Iterator[FastAPI]:
    app = create_app(settings)
    yield app
    app.state.services.database.dispose()


@pytest.fixture
def services(app: FastAPI) -> Services:
    services: Services = app.state.services
    return services


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Talks to the app as a browser on the same machine would; a defect answers 500 instead of raising."""
    with TestClient(app, base_url=BASE_URL, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def plain_client(sqlite_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """On SQLite only, for what never reaches the database."""
    app = create_app(Settings(data_dir=tmp_path, database_url=sqlite_url, max_upload_bytes=4_000_000))
    with TestClient(app, base_url=BASE_URL, raise_server_exceptions=False) as client:
        yield client
