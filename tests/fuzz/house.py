"""The service that is fuzzed: the real program with its real database, and a project that has one of everything."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from api.app import create_app
from service.settings import Settings
from tests.api.world import build

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "192.0.2.0/24"
"""For documentation: nothing answers there."""
START_S = 180.0


@dataclass(frozen=True)
class Served:
    url: str
    secret: str
    """A key of the project that may do all but run code."""
    key_id: str
    known: dict[str, list[Any]]
    """Parameter of paths → values that name something."""
    log: Path


@contextmanager
def serving(folder: Path, database_url: str, *, with_keys: bool) -> Iterator[Served]:
    """The service on a migrated database, with keys or as on loopback without."""
    secret, key_id, known = _furnish(folder, database_url)
    port = _free_port()
    settings = {
        "DATA_DIR": str(folder),
        "DATABASE_URL": database_url,
        "PORT": str(port),
        "AUTH": "auto" if with_keys else "off",
        "REQUESTS_PER_MINUTE": "0",
        "OUTBOUND_NETWORKS": NETWORK,
        "OUTBOUND_PORTS": "1",
    }
    ours = {f"WARPADAM_{name}": value for name, value in settings.items()}
    log = folder / "api.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.server"],
            cwd=ROOT,
            env={**os.environ, **ours},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url, log)
        yield Served(url, secret, key_id, known, log)
    finally:
        process.terminate()
        process.wait(30)


def _furnish(folder: Path, database_url: str) -> tuple[str, str, dict[str, list[Any]]]:
    """A key's secret and id, and what the project `default` has, which is also everybody's where no key is needed."""
    app = create_app(Settings(data_dir=folder, database_url=database_url, outbound_networks=NETWORK))  # type: ignore[arg-type]
    try:
        world = build(app, app.state.services, "default")
    finally:
        app.state.services.database.dispose()
    secret = str(world.client.headers["authorization"]).removeprefix("Bearer ")
    known: dict[str, list[Any]] = {name: [value] for name, value in world.ids.items()}
    for call in world.calls.values():
        for name, value in call.fills.items():
            known[name].append(value)
    known["version"] = [int(each) for each in known["version"]]
    known["which"] += ["champion", "latest", "best", "last"]
    known["key_id"].remove(world.ids["key_id"])
    return secret, world.ids["key_id"], known


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the service did not start:\n{log.read_text()}")
