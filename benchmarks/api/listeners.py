"""Many clients of live events in one thread; when each event reached each of them."""

import selectors
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.api import wire

_CONNECTED = b": connected\n"


@dataclass
class _Listener:
    socket: socket.socket
    rest: bytes = b""
    is_connected: bool = False
    seen: dict[str, float] = field(default_factory=dict)
    """Id of an event → when it came."""

    def feed(self, data: bytes, now: float) -> None:
        lines = (self.rest + data).split(b"\n")
        self.rest = lines.pop()
        for line in lines:
            if line.startswith(b"id: "):
                self.seen[line[4:].strip().decode()] = now
        self.is_connected = self.is_connected or _CONNECTED in data or bool(self.seen)


class Crowd:
    """Listens to the events of these jobs, each from now on, until it is closed."""

    def __init__(self, address: wire.Address, key: str, jobs: Sequence[str]) -> None:
        self._stop = threading.Event()
        self._listeners = []
        self._selector = selectors.DefaultSelector()
        for job in jobs:
            connection = socket.create_connection(address, timeout=60)
            headers = {"Accept": "text/event-stream"}
            connection.sendall(wire.request("GET", f"/v1/jobs/{job}/events", key=key, headers=headers))
            listener = _Listener(connection)
            self._listeners.append(listener)
            self._selector.register(connection, selectors.EVENT_READ, listener)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Crowd":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for listener in self._listeners:
            listener.socket.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                data = key.data.socket.recv(1 << 16)
                if not data:
                    self._selector.unregister(key.data.socket)
                key.data.feed(data, time.perf_counter())

    def wait_connected(self, seconds: float = 60) -> None:
        """RuntimeError where one of them was not let in."""
        deadline = time.monotonic() + seconds
        while not all(listener.is_connected for listener in self._listeners):
            if time.monotonic() > deadline:
                count = sum(not listener.is_connected for listener in self._listeners)
                raise RuntimeError(f"{count} of {len(self._listeners)} listeners were not let in")
            time.sleep(0.05)
        time.sleep(1.0)  # what was there before has been sent

    def wait_for(self, times: Mapping[str, float], seconds: float) -> list[list[float]]:
        """For each listener the seconds from an event's time in `times` to its coming, of those that came."""
        deadline, came = time.monotonic() + seconds, -1
        while time.monotonic() < deadline:
            now = sum(len(listener.seen) for listener in self._listeners)
            if now == came:
                break
            came = now
            time.sleep(1.0)
        return [latencies(listener.seen, times) for listener in self._listeners]


def latencies(seen: Mapping[str, float], times: Mapping[str, float]) -> list[float]:
    """Seconds between an event and its coming; one that came before it was known to be told took none."""
    return [max(0.0, at - times[event]) for event, at in list(seen.items()) if event in times]
