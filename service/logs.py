"""What a job's attempts printed: chunks in the database, which outlive the node and the attempt.

A runner sends what its output's file has gained with each heartbeat (workers/output.py). A position is one number,
attempt · 2⁴⁸ + bytes of its output: it grows along the job's whole log, so a reader goes on where it stopped. Lines are
whole: the last one of a living attempt shows when it is ended. What was not kept is said in a line of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy.orm import Session

from service.db import log_queries
from service.db.models import Attempt, LogChunk

MAX_LINE_BYTES = 16_384
"""Longer lines are cut into several."""
REST_BYTES = 2**18
"""Of what an attempt printed before its sudden end, so much is kept."""
_PER_ATTEMPT = 2**48


@dataclass(frozen=True)
class Line:
    attempt: int
    position: int
    """Where the line ends."""
    text: str


def store(session: Session, job_id: str, attempt: int, start: int, data: bytes, *, most: int) -> None:
    """Keeps bytes of an attempt's output, whole lines, from byte `start` on; of more than `most` bytes the newest."""
    known = log_queries.stored_until(session, job_id, attempt)
    data, start = data[max(0, known - start) :], max(start, known)
    if data:
        end = start + len(data)
        session.add(LogChunk(job_id=job_id, attempt=attempt, start=start, end=end, data=data))
        session.flush()
        log_queries.drop_before(session, job_id, attempt, end - most)


def keep_rest(session: Session, folder: Path, job_id: str, attempt: int, *, most: int) -> None:
    """Keeps what an attempt that has ended without a word left in its file here, if there is one."""
    known = log_queries.stored_until(session, job_id, attempt)
    try:
        with (folder / f"{job_id}-{attempt}.log").open("rb") as file:
            start = max(known, file.seek(0, 2) - REST_BYTES)
            file.seek(start)
            if start > known:
                start += len(file.readline())
            store(session, job_id, attempt, start, file.read(REST_BYTES), most=most)
    except OSError:
        return


def read(session: Session, folder: Path, attempts: Sequence[Attempt], after: int, limit: int) -> list[Line]:
    """At most `limit` lines after the position `after` (0: from the first), oldest first.

    Lines that are only in the file of a runner of this machine, in `folder`, are among them.
    """
    lines: list[Line] = []
    for attempt in attempts:
        if attempt.number < after // _PER_ATTEMPT:
            continue
        for line in _lines(session, folder, attempt, max(0, after - attempt.number * _PER_ATTEMPT)):
            if len(lines) == limit:
                return lines
            lines.append(line)
    return lines


def drop_files(folder: Path, keep_days: float, now: datetime) -> int:
    """Removes the files of attempts on this machine that were last written longer ago; how many. 0 days: for ever."""
    removed = 0
    for path in folder.glob("job_*.log") if keep_days else ():
        with suppress(OSError):
            if path.stat().st_mtime < (now - timedelta(days=keep_days)).timestamp():
                path.unlink()
                removed += 1
    return removed


def _lines(session: Session, folder: Path, attempt: Attempt, place: int) -> Iterator[Line]:
    while (chunk := log_queries.chunk_after(session, attempt.job_id, attempt.number, place)) is not None:
        if chunk.start > place:
            yield _line(attempt, chunk.start, f"[{chunk.start - place} bytes of output were not kept]".encode())
        for end, piece in _cut(chunk.data):
            if chunk.start + end > place:
                yield _line(attempt, chunk.start + end, piece)
        place = chunk.end
    yield from _lines_of_file(folder, attempt, place)


def _lines_of_file(folder: Path, attempt: Attempt, place: int) -> Iterator[Line]:
    try:
        file = (folder / f"{attempt.submission_id}.log").open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(place)
        while piece := file.readline(MAX_LINE_BYTES):
            is_whole = piece.endswith(b"\n") or len(piece) == MAX_LINE_BYTES
            if not is_whole and attempt.finished_at is None:
                return
            yield _line(attempt, file.tell(), piece)


def _cut(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines of a chunk, each with where it ends."""
    place = 0
    while place < len(data):
        newline = data.find(b"\n", place, place + MAX_LINE_BYTES)
        end = newline + 1 if newline >= 0 else min(len(data), place + MAX_LINE_BYTES)
        yield end, data[place:end]
        place = end


def _line(attempt: Attempt, end: int, piece: bytes) -> Line:
    text = piece.decode("utf-8", "replace").rstrip("\r\n").replace("\0", "")
    return Line(attempt.number, attempt.number * _PER_ATTEMPT + end, text)
