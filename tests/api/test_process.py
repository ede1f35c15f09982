"""`python -m api` as a process: it listens, streams, and ends within seconds of SIGTERM, listeners or not."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.__main__ import SHUTDOWN_S
from tests.api.made import npz, spec

START_S = 60.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _environment(folder: Path, url: str, **settings: str) -> dict[str, str]:
    ours = {"WARPADAM_DATA_DIR": str(folder), "WARPADAM_DATABASE_URL": url, **settings}
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **ours}


@pytest.fixture
def server(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    port = _free_port()
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env=_environment(tmp_path, sqlite_url, WARPADAM_PORT=str(port)),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            _wait(process, client, tmp_path / "api.log")
            yield process, client
    finally:
        process.kill()
        process.wait()


def _wait(process: subprocess.Popen[bytes], client: httpx.Client, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client.get("/healthz").raise_for_status()
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server did not start:\n{log.read_text()}")


def test_sigterm_ends_it_with_a_listener_open(server: tuple[subprocess.Popen[bytes], httpx.Client]) -> None:
    process, client = server
    dataset = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    job = client.post("/v1/jobs", json=spec(dataset)).json()["id"]
    with client.stream("GET", f"/v1/jobs/{job}/events", headers={"accept": "text/event-stream"}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == ": connected"
        process.send_signal(signal.SIGTERM)
        assert process.wait(SHUTDOWN_S + 10) in (0, -signal.SIGTERM)
        assert "event: end" not in list(lines)  # the stream was closed properly, and the job has not ended


def test_a_body_that_is_too_large_is_answered_before_it_is_sent(
    server: tuple[subprocess.Popen[bytes], httpx.Client],
) -> None:
    _, client = server
    url = client.base_url
    with socket.create_connection((url.host, url.port or 80), timeout=30) as connection:
        head = f"POST /v1/families HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 999999999\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_it_refuses_to_listen_for_others(sqlite_url: str, tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "api"],
        env=_environment(tmp_path, sqlite_url, WARPADAM_HOST="0.0.0.0"),
        capture_output=True,
        timeout=START_S,
        check=False,
    )
    assert refused.returncode == 2
    assert b"no keys" in refused.stderr
    assert b"Traceback" not in refused.stderr
