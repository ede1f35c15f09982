"""The real API on a loopback socket, for tests of who talks to it. No Ray, no dispatcher: jobs stay queued, unless a
test writes what an attempt would have written."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.deps import Services
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage

START_S = 20.0


@dataclass(frozen=True)
class Served:
    url: str
    folder: Path
    services: Services

    @property
    def database(self) -> Database:
        return self.services.database


@pytest.fixture(scope="session")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FastAPI, str]]:
    """One server for the session; each test puts its own database and storage into its app."""
    app = create_app(Settings(data_dir=tmp_path_factory.mktemp("served")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_S
        while not server.started:
            assert time.monotonic() < deadline
            assert thread.is_alive()
            time.sleep(0.01)
        yield app, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(START_S)


@pytest.fixture
def served(listening: tuple[FastAPI, str], sqlite_url: str, tmp_path: Path) -> Iterator[Served]:
    app, url = listening
    settings = Settings(data_dir=tmp_path, database_url=sqlite_url)
    services = Services(settings, Database(settings.database), Storage(settings.storage))
    app.state.services = services
    yield Served(url, tmp_path, services)
    services.database.dispose()
