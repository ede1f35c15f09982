"""Files on their way in: resumed where they broke off, also by a later process, and checked before they are there.

What has arrived lies in `<name>.<first digits of its sha256>.part` beside the target; only the whole file, with the
right sha256, replaces the target, at once. The service's ETags are the sha256 of the content.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from warpadam.sdk.connection import Connection, Show
from warpadam.sdk.errors import ConnectionFailed, DamagedTransfer, ServerError, WarpAdamError

_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Content:
    """A file of the service: where it is, its sha256, its size in bytes."""

    path: str
    sha256: str
    size: int


async def download(connection: Connection, content: Content, target: Path, show: Show | None = None) -> Path:
    """Writes the content to `target`: whole, or not at all.

    Where it breaks off it goes on from there, until `connection.tries` tries in a row have brought nothing. Raises
    DamagedTransfer for another sha256, WarpAdamError where `target` cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.with_name(f"{target.name}.{content.sha256[:12]}.part")) as part:
            await _fetch(connection, content, part, show)
            _check(content, part)
            os.fchmod(part.fileno(), 0o644)
            Path(part.name).replace(target)
    except OSError as error:
        raise WarpAdamError(f"cannot write {target}: {error.strerror}") from error
    return target


async def fetch_bytes(connection: Connection, content: Content) -> bytes:
    """The content in memory. Raises DamagedTransfer for another sha256."""
    async with connection.stream(content.path) as answer:
        found = await connection.transport.read(answer)
    if hashlib.sha256(found).hexdigest() != content.sha256:
        raise _damaged(content, hashlib.sha256(found).hexdigest())
    return found


async def _fetch(connection: Connection, content: Content, part: IO[bytes], show: Show | None) -> None:
    """Until all bytes are there."""
    failures = 0
    arrived = part.seek(0, os.SEEK_END)
    if show:
        show(arrived)
    while arrived < content.size:
        try:
            async with connection.stream(content.path, _rest(content, arrived)) as answer:
                await _append(connection, answer, part, show)
        except (ConnectionFailed, ServerError):
            failures = 0 if part.tell() > arrived else failures + 1
            if failures >= connection.tries:
                raise
            await connection.backoff(failures + 1)
        else:
            if part.tell() == arrived:
                return  # it has less than it said: the check will tell
        arrived = part.tell()


def _rest(content: Content, arrived: int) -> dict[str, str]:
    return {"Range": f"bytes={arrived}-", "If-Range": f'"{content.sha256}"'} if arrived else {}


async def _append(connection: Connection, answer: httpx.Response, part: IO[bytes], show: Show | None) -> None:
    """Writes what comes to the end of `part`; all of it anew where the service does not send the rest alone."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT and (before := part.tell()):
        part.seek(0)
        part.truncate()
        if show:
            show(-before)
    async for piece in connection.transport.pieces(answer):
        part.write(piece)
        if show:
            show(len(piece))


def _check(content: Content, part: IO[bytes]) -> None:
    part.flush()
    part.seek(0)
    found = hashlib.sha256()
    while piece := part.read(_HASHED_AT_ONCE):
        found.update(piece)
    if found.hexdigest() != content.sha256:
        Path(part.name).unlink()
        raise _damaged(content, found.hexdigest())


def _damaged(content: Content, found: str) -> DamagedTransfer:
    return DamagedTransfer(f"{content.path} arrived damaged: sha256 {found}, expected {content.sha256}. Try again.")


@contextmanager
def _alone(path: Path) -> Iterator[IO[bytes]]:
    """The partial file, for reading and appending. Raises WarpAdamError while another download writes it."""
    with path.open("ab+") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WarpAdamError(f"another download writes {path}: wait for it, or name another file") from error
        yield part
