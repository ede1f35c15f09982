"""Requests through the guard, to a server on this machine."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from service.outbound import FAILURES, Guard, Refused, request
from tests.service.outbound.receiver import HERE, Receiver, receiving

HTTP = ("http",)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def get(guard: Guard, url: str, *, redirects: int = 0, deadline_s: float = 10) -> tuple[int, bytes]:
    with request(guard, "GET", url, schemes=HTTP, deadline_s=deadline_s, redirects=redirects) as answer:
        return answer.status, b"".join(answer.chunks)


def test_what_is_sent_and_what_comes(receiver: Receiver) -> None:
    post = request(
        HERE, "POST", receiver.url + "?a=b", schemes=HTTP, deadline_s=10, headers={"x-y": "z"}, content=b"{}"
    )
    with post as answer:
        assert (answer.status, b"".join(answer.chunks)) == (200, b"ok")
    ((path, headers, body),) = receiver.got
    assert (path, headers["x-y"], headers["content-length"], body) == ("/hook?a=b", "z", "2", b"{}")
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert headers["accept-encoding"] == "identity"


def test_a_name_that_changes_its_mind_is_judged_at_the_connection(receiver: Receiver) -> None:
    answers = [["8.8.8.8"], ["127.0.0.1"]]
    guard = Guard(ports=frozenset({receiver.port}), resolve=lambda _host, _port: answers.pop(0))
    url = f"http://rebinds.example:{receiver.port}/"
    guard.check(url, HTTP)
    with pytest.raises(Refused):
        get(guard, url)
    assert receiver.got == []


def test_the_connection_goes_to_the_address_that_was_judged(receiver: Receiver) -> None:
    asked: list[str] = []

    def once(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    assert get(replace(HERE, resolve=once), f"http://name.example:{receiver.port}/")[0] == 200
    assert asked == ["name.example"]
    assert receiver.got[0][1]["host"] == f"name.example:{receiver.port}"


def test_redirects_are_not_followed_unless_asked_for_and_judged_then(receiver: Receiver) -> None:
    receiver.status, receiver.headers = 302, {"Location": "http://169.254.169.254/latest/"}
    assert get(HERE, receiver.url)[0] == 302
    with pytest.raises(Refused, match="no public address"):
        get(HERE, receiver.url, redirects=3)
    for location, why in (
        ("file:///etc/passwd", "begin with"),
        ("http://u:p@127.0.0.1/", "no user"),
        ("/", "more than"),
    ):
        receiver.headers = {"Location": location}
        with pytest.raises(Refused, match=why):
            get(HERE, receiver.url, redirects=3)


def test_nobody_listens() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(FAILURES):
            get(HERE, f"http://127.0.0.1:{closed.getsockname()[1]}/")


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_who_never_ends_is_left_at_the_deadline(sent: bytes) -> None:
    """It says something now and then, so that no pause is long, and never comes to an end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    connection.sendall(sent)
                    while not over.wait(0.02):
                        connection.sendall(b"a" if sent else b"")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(FAILURES):
            get(HERE, f"http://127.0.0.1:{server.getsockname()[1]}/", deadline_s=0.2)
        over.set()
        thread.join(10)


def test_no_proxy_of_the_environment_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert get(HERE, receiver.url) == (200, b"ok")
