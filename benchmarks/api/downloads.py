"""Large files: against nginx with the same file, and what the server's memory does meanwhile."""

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import psutil
from safetensors.numpy import save
from sqlalchemy import select

from benchmarks.api import house, wire
from benchmarks.api.filling import MINE
from benchmarks.api.house import House
from benchmarks.api.numbers import Measured, at_least, at_most, median
from service import clock
from service.db.models import Checkpoint, Job
from service.storage import CHUNK, Stored

P_SIZES, P_AXIS = (4, 1), 2048
"""So many matrices of P_AXIS², 16 MiB each; the first where there is time, the second where there is little."""
GROWTH_MB = 64.0
"""What a transfer may add to the server's memory, whatever its size: buffers, and what the allocator keeps."""
_RECEIVE = 1 << 20


def measure(place: House, turns: int, *, quick: bool) -> list[Measured]:
    data = _warp(P_SIZES[1] if quick else P_SIZES[0])
    path = _upload_warp(place, data)
    (place.folder / "p.safetensors").write_bytes(data)
    large = _checkpoint(place, 2**27 if quick else 2**30)
    found = [*_against_nginx(place, path, turns), *_large(place, large)]
    return [*found, *_upload(place, 2**28 if quick else 2**31)]


def _warp(count: int) -> bytes:
    """Signed permutations: orthogonal, and made at once."""
    draw = np.random.default_rng(1)
    matrices = {}
    for number in range(count):
        matrix = np.zeros((P_AXIS, P_AXIS), np.float32)
        matrix[np.arange(P_AXIS), draw.permutation(P_AXIS)] = draw.choice([-1.0, 1.0], P_AXIS)
        matrices[f"param:layer{number}.weight:0:{P_AXIS}@0123456789ab"] = matrix
    return save(matrices, {"format": "warpadam.warp/1"})


def _upload_warp(place: House, data: bytes) -> str:
    """The path of its content, once it was uploaded as a version of a family."""
    key, address = place.keys[MINE], place.api.address
    wire.ask(address, wire.request("POST", "/v1/families", key=key, body=b'{"name": "large"}'))
    kind = {"Content-Type": "application/octet-stream", "Content-Length": str(len(data))}
    answer = wire.ask(address, wire.request("POST", "/v1/families/large/warps", key=key, headers=kind) + data)
    if answer.status != 201:
        raise RuntimeError(f"the P was answered {answer.status}: {answer.body[:500]!r}")
    return f"/v1/families/large/warps/{json.loads(answer.body)['version']}/content"


def _checkpoint(place: House, size: int) -> str:
    """The path of the content of a job's checkpoint of `size` bytes, written as a runner would."""
    piece = secrets.token_bytes(CHUNK)
    stored = place.storage.put_stream("checkpoints", (piece for _ in range(size // CHUNK)), size)
    with place.database.read() as session:
        job = session.scalars(select(Job.id).where(Job.project == MINE, Job.state == "succeeded").limit(1)).one()
    place.database.write(lambda session: session.add(_row(job, stored)))
    return f"/v1/jobs/{job}/checkpoints/best/content"


def _row(job: str, stored: Stored) -> Checkpoint:
    marks = {"is_best": True, "is_last": True, "step": 1, "attempt": 1}
    file = {"path": stored.path, "sha256": stored.sha256, "size": stored.size}
    return Checkpoint(id="ckpt_benchmark", project=MINE, job_id=job, created_at=clock.now(), **marks, **file)


def _against_nginx(place: House, path: str, turns: int) -> list[Measured]:
    buffer = memoryview(bytearray(_RECEIVE))
    ours = wire.request("GET", path, key=place.keys[MINE], headers={"Connection": "close"})
    theirs = wire.request("GET", "/p.safetensors", headers={"Connection": "close"})
    size, first = wire.download(place.api.address, ours, buffer)
    told = [Measured("P from the database, first download", size / first / 1e6, "MB/s", note=f"{size / 2**20:.0f} MB")]
    with house.nginx(place.folder, place.folder) as server:
        if server is None:
            return [*told, Measured("P against nginx", float("nan"), "×", note="not measured: nginx is not installed")]
        pairs = []
        for _ in range(turns):
            nginx = wire.download(server.address, theirs, buffer)[1]
            pairs.append((nginx, wire.download(place.api.address, ours, buffer)[1]))
    ratio = median([theirs_s / ours_s for theirs_s, ours_s in pairs])
    return [
        *told,
        at_least("P download: bytes/s against nginx", ratio, "×", 0.7),
        Measured("P download: ours", size / median([pair[1] for pair in pairs]) / 1e6, "MB/s"),
        Measured("P download: nginx", size / median([pair[0] for pair in pairs]) / 1e6, "MB/s"),
    ]


def _large(place: House, path: str) -> list[Measured]:
    sent = wire.request("GET", path, key=place.keys[MINE], headers={"Connection": "close"})
    with watched(place) as memory:
        size, seconds = wire.download(place.api.address, sent, memoryview(bytearray(_RECEIVE)))
    what = f"memory added while {size / 2**20:.0f} MB of checkpoint were downloaded"
    return [at_most(what, memory.added, "MB", GROWTH_MB, note=f"{size / seconds / 1e6:.0f} MB/s")]


def _upload(place: House, size: int) -> list[Measured]:
    """A text of `size` bytes as a dataset, until it is stored and answered; then until it was inspected."""
    piece = (b"the quick brown fox jumps over the lazy dog. " * 24_000)[:CHUNK]
    pieces = (piece for _ in range(size // len(piece)))
    with watched(place) as memory:
        began = time.perf_counter()
        answer = send_form(place.api.address, place.keys[MINE], {"format": "text"}, pieces, size)
        seconds = time.perf_counter() - began
    if answer.status != 201:
        raise RuntimeError(f"the upload was answered {answer.status}: {answer.body[:500]!r}")
    what = f"memory added while {size / 2**20:.0f} MB of dataset were uploaded"
    note = f"{size / seconds / 1e6:.0f} MB/s, hashed and durable"
    return [at_most(what, memory.added, "MB", GROWTH_MB, note)]


def send_form(
    address: wire.Address, key: str, fields: dict[str, str], pieces: Iterator[bytes], size: int
) -> wire.Answer:
    """One multipart POST of a dataset, piece by piece."""
    boundary = "benchmark0123456789"
    head = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="large.txt"\r\n\r\n'
    tail = f"\r\n--{boundary}--\r\n"
    headers = {
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(len(head) + size + len(tail)),
    }
    answer = wire.Answer()
    with socket.create_connection(address, timeout=300) as connection:
        connection.sendall(wire.request("POST", "/v1/datasets", key=key, headers=headers) + head.encode())
        for piece in pieces:
            connection.sendall(piece)
        connection.sendall(tail.encode())
        while not answer.feed(connection.recv(1 << 16)):
            pass
    return answer


@dataclass
class Memory:
    """Of a process, before and at most since; pages of mapped files are the system's, and not counted."""

    before: float
    peak: float = 0.0
    samples: list[float] = field(default_factory=list)

    @property
    def added(self) -> float:
        return max(0.0, self.peak - self.before)


@contextmanager
def watched(place: House) -> Iterator[Memory]:
    """Looks at the server's memory every 20 ms."""
    process = psutil.Process(place.api.process.pid)

    def look() -> float:
        found = process.memory_info()
        return float((found.rss - found.shared) / 2**20)

    memory, stop = Memory(look()), threading.Event()
    thread = threading.Thread(target=_watch, args=(look, memory, stop))
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()


def _watch(look: Callable[[], float], memory: Memory, stop: threading.Event) -> None:
    while not stop.wait(0.02):
        memory.peak = max(memory.peak, look())
