"""Downloads that break off, are resumed, damaged or written twice; uploads that are hashed as they go."""

import fcntl
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from warpadam.client import Client
from warpadam.sdk import errors
from warpadam.sdk.connection import Connection
from warpadam.sdk.downloading import Content, download
from warpadam.sdk.modes import run

DATA = bytes(range(256)) * 4000


@dataclass
class Server:
    """Serves DATA with ranges; `cuts` says after how many bytes each answer breaks off."""

    url: str = ""
    data: bytes = DATA
    cuts: list[int] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    honours_ranges: bool = True


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            told.ranges.append(wanted)
            match = re.fullmatch(r"bytes=(\d+)-", wanted or "")
            start = int(match[1]) if match and told.honours_ranges else 0
            body = told.data[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: told.cuts.pop(0)] if told.cuts else body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = b'{"id": "ckpt_1", "sha256": "other", "size": 1, "created_at": "2026-01-31T12:00:00Z"}'
            self.send_response(201)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    told.url = f"http://127.0.0.1:{listener.server_port}"
    yield told
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    monkeypatch.setattr("warpadam.sdk.connection.backoff_s", lambda _: 0.0)
    with Client(server.url, tries=3) as client:
        yield client._connection


def content(data: bytes = DATA) -> Content:
    return Content("/file", hashlib.sha256(data).hexdigest(), len(data))


def part(target: Path) -> Path:
    return target.with_name(f"{target.name}.{content().sha256[:12]}.part")


def test_what_breaks_off_goes_on_from_there(server: Server, connection: Connection, tmp_path: Path) -> None:
    server.cuts = [100_000, 50_000, 0, 0, 200_000]  # two in a row may bring nothing, three may not
    shown: list[int] = []
    target = run(download(connection, content(), tmp_path / "new" / "p.bin", shown.append))
    assert target.read_bytes() == DATA
    assert [each.name for each in target.parent.iterdir()] == ["p.bin"]
    assert server.ranges[:3] == [None, "bytes=100000-", "bytes=150000-"]
    assert sum(shown) == len(DATA)


def test_a_later_process_takes_it_up(server: Server, connection: Connection, tmp_path: Path) -> None:
    target = tmp_path / "p.bin"
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(errors.ConnectionFailed):
        run(download(connection, content(), target))
    assert (target.exists(), part(target).stat().st_size) == (False, 100_000)
    server.ranges.clear()
    assert run(download(connection, content(), target)).read_bytes() == DATA
    assert server.ranges == ["bytes=100000-"]


def test_a_service_without_ranges_sends_it_anew(server: Server, connection: Connection, tmp_path: Path) -> None:
    server.cuts, server.honours_ranges = [100_000], False
    assert run(download(connection, content(), tmp_path / "p.bin")).read_bytes() == DATA


@pytest.mark.parametrize("damaged", [DATA[:-1] + b"x", DATA[:-1], DATA + b"x"])
def test_what_is_damaged_never_arrives(server: Server, connection: Connection, tmp_path: Path, damaged: bytes) -> None:
    server.data = damaged
    (tmp_path / "p.bin").write_bytes(b"the old one")
    with pytest.raises(errors.DamagedTransfer, match="sha256"):
        run(download(connection, content(), tmp_path / "p.bin"))
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("p.bin", b"the old one")]


def test_two_downloads_of_one_file_do_not_mix(connection: Connection, tmp_path: Path) -> None:
    target = tmp_path / "p.bin"
    with part(target).open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(errors.WarpAdamError, match="another download"):
            run(download(connection, content(), target))


def test_an_upload_that_arrived_as_something_else_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").write_bytes(b"weights")
    with Client(server.url) as client, pytest.raises(errors.DamagedTransfer, match=r"base\.safetensors"):
        client.checkpoints.upload(tmp_path / "base.safetensors")
