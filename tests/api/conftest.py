"""The real app on a real database (each kind) and a real storage; only Ray and the dispatcher are absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.deps import Services
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage

BASE_URL = "http://localhost:8000"
MAX_UPLOAD_BYTES = 4_000_000


@pytest.fixture(scope="session")
def built_app(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    """Building the app costs a quarter of a second, so it is built once; each test puts its own services into it."""
    return create_app(Settings(data_dir=tmp_path_factory.mktemp("api"), max_upload_bytes=MAX_UPLOAD_BYTES))


@contextmanager
def serving(app: FastAPI, url: str, folder: Path) -> Iterator[Services]:
    roots = folder / "roots"
    roots.mkdir()
    settings = Settings(
        data_dir=folder,
        database_url=url,
        data_roots=(roots,),
        max_upload_bytes=MAX_UPLOAD_BYTES,
        outbound_networks=(ip_network("192.0.2.0/24"),),  # for documentation: nothing answers there
    )
    services = Services(settings, Database(settings.database), Storage(settings.storage))
    app.state.services = services
    yield services
    services.database.dispose()


@pytest.fixture
def services(built_app: FastAPI, database_url: str, tmp_path: Path) -> Iterator[Services]:
    """What the app of `client` works with."""
    with serving(built_app, database_url, tmp_path) as services:
        yield services


@pytest.fixture
def client(built_app: FastAPI, services: Services) -> TestClient:
    """Talks to the app as a browser on the same machine would; a defect answers 500 instead of raising."""
    return TestClient(built_app, base_url=BASE_URL, raise_server_exceptions=False)


@pytest.fixture
def plain_client(built_app: FastAPI, sqlite_url: str, tmp_path: Path) -> Iterator[TestClient]:
    """On SQLite only, for what hardly reaches the database."""
    with serving(built_app, sqlite_url, tmp_path):
        yield TestClient(built_app, base_url=BASE_URL, raise_server_exceptions=False)
