"""Requests through the guard: one connection each, to an address that was judged, within one deadline."""

import functools
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

from service.outbound.guard import Guard, Refused, host_of, port_of

CONNECT_S = 5.0
IDLE_S = 15.0
"""The longest wait for the other side's next bytes, or for it to take ours."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRIED = 3
"""Of a name's addresses."""

FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, httpcore.ProxyError)
"""What `request`, and reading an answer, raise beside Refused."""

_SocketOptions = Iterable[Any] | None


@dataclass(frozen=True)
class Answer:
    status: int
    headers: httpx.Headers
    chunks: Iterator[bytes]
    """The body as it comes, as it was sent: it is never decompressed."""


@contextmanager
def request(
    guard: Guard,
    method: str,
    url: str,
    *,
    schemes: Sequence[str],
    deadline_s: float,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
    redirects: int = 0,
) -> Iterator[Answer]:
    """The answer, whatever its status. At most `redirects` are followed, each judged like the first URL.

    All of it, reading the body included, must be over in `deadline_s`. Raises Refused, and FAILURES. Proxies of the
    environment are not used: what is judged here would not be what they connect to.
    """
    ends = time.monotonic() + deadline_s
    allowed = tuple(schemes)
    for _ in range(redirects + 1):
        target = guard.read(url, allowed)
        with _sent(guard, method, target, ends, headers or {}, content) as response:
            answer = Answer(response.status, httpx.Headers(response.headers), response.iter_stream())
            moved_to = answer.headers.get("location")
            if not (redirects and response.status in _REDIRECTS and moved_to):
                yield answer
                return
        url = _joined(target, moved_to)
        allowed = ("https",) if target.scheme == "https" else allowed
    raise Refused(f"it leads on more than {redirects} times")


def _joined(base: httpx.URL, location: str) -> str:
    try:
        return str(base.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise Refused("it leads to what is no URL") from error


@contextmanager
def _sent(
    guard: Guard, method: str, url: httpx.URL, ends: float, headers: Mapping[str, str], content: bytes | None
) -> Iterator[httpcore.Response]:
    where = httpcore.URL(
        scheme=url.raw_scheme, host=host_of(url).encode(), port=port_of(url), target=url.raw_path or b"/"
    )
    sent = {"Host": url.netloc.decode(), "Accept-Encoding": "identity", "Connection": "close", **headers}
    limits = {"connect": CONNECT_S, "read": IDLE_S, "write": IDLE_S, "pool": CONNECT_S}
    with (
        httpcore.ConnectionPool(ssl_context=_tls(), max_connections=1, network_backend=_Network(guard, ends)) as pool,
        pool.stream(
            method, where, headers=list(sent.items()), content=content, extensions={"timeout": limits}
        ) as response,
    ):
        yield response


@functools.cache
def _tls() -> ssl.SSLContext:
    """What certifi knows, and what the machine's administrator added to the system."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


class _Network(httpcore.NetworkBackend):
    """Connects to addresses only, each judged a moment before."""

    def __init__(self, guard: Guard, ends: float) -> None:
        self._guard = guard
        self._ends = ends
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError("no address")
        for address in self._guard.addresses(host, port)[:_TRIED]:
            try:
                left = _left(timeout, self._ends, httpcore.ConnectTimeout)
                return _Stream(
                    self._sockets.connect_tcp(address, port, left, local_address, socket_options), self._ends
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Stream(httpcore.NetworkStream):
    """A connection that has until `ends`: who sends a byte now and then does not hold it for ever."""

    def __init__(self, inner: httpcore.NetworkStream, ends: float) -> None:
        self._inner = inner
        self._ends = ends

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, _left(timeout, self._ends, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, _left(timeout, self._ends, httpcore.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, self._ends, httpcore.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._ends)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _left(timeout: float | None, ends: float, over: type[httpcore.TimeoutException]) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise over("it took too long")
    return left if timeout is None else min(timeout, left)
