"""A small HTTP client that is much faster than what it measures: many connections, one thread, requests made once.

Each connection sends its next request when its answer is complete (a closed loop), so nobody is asked for more than he
can do, and a latency is what one user would see.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

Address = tuple[str, int]

_RECEIVE = 1 << 18


class NotHttp(Exception):
    """What came is no answer that this client understands."""


@dataclass
class Outcome:
    """Of one stretch of load."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    """Seconds from the first byte sent to the last byte received, in order of their ends."""
    statuses: Counter[int] = field(default_factory=Counter)
    body: bytes = b""
    """Of the last answer."""

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0


def request(
    method: str, path: str, *, key: str | None = None, body: bytes | None = None, headers: dict[str, str] | None = None
) -> bytes:
    """The bytes of one request, with keep-alive."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    if key is not None:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


@dataclass
class Answer:
    """One answer as its bytes come in; `feed` says whether it is complete."""

    received: bytearray = field(default_factory=bytearray)
    status: int = 0
    start: int = 0
    """Where the body begins; 0: the head is not complete yet."""
    length: int = 0

    def feed(self, data: bytes) -> bool:
        """Raises NotHttp for an answer without a Content-Length, and for bytes beyond it."""
        self.received += data
        if not self.start and not self._read_head():
            return False
        left = self.start + self.length - len(self.received)
        if left < 0:
            raise NotHttp(f"{-left} bytes more than the answer's Content-Length")
        return left == 0

    @property
    def body(self) -> bytes:
        return bytes(self.received[self.start :])

    def _read_head(self) -> bool:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = bytes(self.received[:end]).split(b"\r\n")
        if not first.startswith(b"HTTP/1.1 "):
            raise NotHttp(f"an answer begins with HTTP/1.1, this with {first[:40]!r}")
        self.status, self.start = int(first[9:12]), end + 4
        lengths = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"content-length:")]
        if not lengths and self.status not in (204, 304):
            raise NotHttp("an answer without Content-Length")
        self.length = int(lengths[0]) if lengths else 0
        return True


def ask(address: Address, sent: bytes) -> Answer:
    """One request on a connection of its own."""
    answer = Answer()
    with socket.create_connection(address, timeout=120) as connection:
        connection.sendall(sent)
        while not answer.feed(_some(connection)):
            pass
    return answer


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(_RECEIVE)
    if not data:
        raise NotHttp("the connection ended before the answer")
    return data


class _Client:
    """One connection, with at most one request under way."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.create_connection(address, timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self.answer = Answer()

    def send(self, sent: bytes) -> None:
        self.answer = Answer()
        self.began = time.perf_counter()
        self.socket.sendall(sent)


def load(
    address: Address,
    make: Callable[[int], bytes],
    *,
    connections: int,
    seconds: float = float("inf"),
    most: int | None = None,
) -> Outcome:
    """Requests `make(0)`, `make(1)`, … for so many seconds, or `most` of them, over so many connections."""
    found = Outcome()
    clients = [_Client(address) for _ in range(connections)]
    begun = time.perf_counter()
    sent = 0
    with selectors.DefaultSelector() as selector:
        for client in clients[: most or connections]:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(make(sent))
            sent += 1
        open_ = len(selector.get_map())
        while open_:
            for key, _ in selector.select():
                client = key.data
                if not client.answer.feed(_some(client.socket)):
                    continue
                now = time.perf_counter()
                found.latencies.append(now - client.began)
                found.statuses[client.answer.status] += 1
                if (most is None or sent < most) and now - begun < seconds:
                    client.send(make(sent))
                    sent += 1
                else:
                    open_ -= 1
                    found.body = client.answer.body
    found.seconds = time.perf_counter() - begun
    for client in clients:
        client.socket.close()
    return found


def download(address: Address, sent: bytes, buffer: memoryview) -> tuple[int, float]:
    """(bytes of the body, seconds) of a download, thrown away as it comes. Raises NotHttp unless it is a 200."""
    with socket.create_connection(address, timeout=120) as connection:
        began = time.perf_counter()
        connection.sendall(sent)
        answer = Answer()
        while not answer.start:
            answer.feed(_some(connection))
        if answer.status != 200:
            raise NotHttp(f"{answer.status}: {answer.body[:200]!r}")
        left = answer.length - len(answer.body)
        while left:
            count = connection.recv_into(buffer)
            if not count:
                raise NotHttp(f"the connection ended {left} bytes before the file")
            left -= count
        return answer.length, time.perf_counter() - began
