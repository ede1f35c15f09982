"""Clients that hold a connection or a thread as long as they are let: the server leaves them, and answers others."""

import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from api import slow
from tests.api.conftest import serving

SHORT = 0.4
AT_MOST_S = 60.0


@pytest.fixture
def port(built_app: FastAPI, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The app on a socket, with little patience."""
    for name in ("HEAD_S", "IDLE_S", "GRACE_S"):
        monkeypatch.setattr(slow, name, SHORT)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(built_app, http=slow.Protocol, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with serving(built_app, sqlite_url, tmp_path):
            yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(AT_MOST_S)
        listening.close()


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/octet-stream", *headers, "", ""]
    return "\r\n".join(lines).encode()


def answer_to(port: int, pieces: Iterator[bytes], pause: float = 0.0) -> bytes:
    """All that comes back until the server ends the connection, however long the pieces would go on."""
    with socket.create_connection(("127.0.0.1", port), timeout=AT_MOST_S) as connection:
        ended = threading.Event()

        def send() -> None:
            for piece in pieces:
                try:
                    connection.sendall(piece)
                except OSError:
                    return
                if ended.wait(pause):
                    return

        sender = threading.Thread(target=send)
        sender.start()
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except ConnectionResetError:
            pass
        finally:
            ended.set()
            sender.join(AT_MOST_S)
        return found


HEADS: dict[str, tuple[Callable[[], Iterator[bytes]], float]] = {
    "nothing": (lambda: iter(()), 0.0),
    "half a head": (lambda: iter([b"GET /healthz HTTP/1.1\r\nHost: loc"]), 0.0),
    "a head that trickles": (lambda: itertools.chain([b"GET / HTTP/1.1\r\n"], itertools.repeat(b"A: b\r\n")), 0.05),
    "a second head": (lambda: iter([b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /hea"]), 0.05),
}


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_does_not_come(port: int, kind: str) -> None:
    pieces, pause = HEADS[kind]
    found = answer_to(port, pieces(), pause)
    assert found.count(b"HTTP/1.1 200") == (kind == "a second head")
    assert httpx.get(f"http://localhost:{port}/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/v1/checkpoints", "/v1/datasets", "/v1/families/none/warps"])
def test_a_body_that_stands_still(port: int, path: str) -> None:
    found = answer_to(port, iter([head(path, "Content-Length: 100000") + b"x" * 10]))
    expected = {"/v1/checkpoints": b"408", "/v1/datasets": b"415", "/v1/families/none/warps": b"404"}[path]
    assert found.startswith(b"HTTP/1.1 " + expected)
    assert b"problem+json" in found


def test_a_body_that_crawls(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "IDLE_S", AT_MOST_S)
    crawling = itertools.chain([head("/v1/checkpoints", "Content-Length: 100000")], itertools.repeat(b"x"))
    assert b'"too_slow"' in answer_to(port, crawling, 0.05)


def test_more_crawlers_than_threads_starve_nobody(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "IDLE_S", AT_MOST_S)
    monkeypatch.setattr(slow, "GRACE_S", AT_MOST_S)
    uploads = head("/v1/checkpoints", "Content-Length: 100000") + b"x"
    crawlers = [socket.create_connection(("127.0.0.1", port), timeout=AT_MOST_S) for _ in range(60)]
    try:
        for crawler in crawlers:
            crawler.sendall(uploads)
        turned_away = crawlers[-1].recv(65536)
        assert turned_away.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in turned_away.lower()
        assert httpx.get(f"http://localhost:{port}/v1/families", timeout=AT_MOST_S).status_code == 200
    finally:
        for crawler in crawlers:
            crawler.close()


def test_a_body_goes_on_after_its_answer(port: int) -> None:
    endless = itertools.chain([head("/v1/families", "Content-Length: 999999999999")], itertools.repeat(b"x" * 4096))
    assert answer_to(port, endless, 0.001).startswith(b"HTTP/1.1 413")


def test_who_is_slow_but_steady_is_served(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow, "IDLE_S", AT_MOST_S)
    monkeypatch.setattr(slow, "GRACE_S", AT_MOST_S)

    def dripping() -> Iterator[bytes]:
        for piece in (b'{"na', b'me": ', b'"drip"}'):
            yield piece
            time.sleep(SHORT)

    kind = {"content-type": "application/json"}
    assert httpx.post(f"http://localhost:{port}/v1/families", content=dripping(), headers=kind).status_code == 201
