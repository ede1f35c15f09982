"""What a job's attempts printed: files of the launcher of processes, `<data_dir>/logs/<submission id>.log`.

A position is one number, attempt · 2⁴⁸ + bytes of its file: it grows along the job's whole log, whatever is appended,
so a reader goes on where it stopped. Lines are whole: the last one of a living attempt shows when it is ended.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.db.models import Attempt

MAX_LINE_BYTES = 16_384
"""Longer lines are cut into several."""
_PER_ATTEMPT = 2**48


@dataclass(frozen=True)
class Line:
    attempt: int
    position: int
    """Where the line ends."""
    text: str


def read(folder: Path, attempts: Sequence[Attempt], after: int, limit: int) -> list[Line]:
    """At most `limit` lines after the position `after` (0: from the first), oldest first. A missing file has none."""
    lines: list[Line] = []
    for attempt in attempts:
        if attempt.number < after // _PER_ATTEMPT:
            continue
        for line in _lines(folder, attempt, after):
            if len(lines) == limit:
                return lines
            lines.append(line)
    return lines


def _lines(folder: Path, attempt: Attempt, after: int) -> Iterator[Line]:
    base = attempt.number * _PER_ATTEMPT
    try:
        file = (folder / f"{attempt.submission_id}.log").open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(max(0, after - base))
        while piece := file.readline(MAX_LINE_BYTES):
            is_whole = piece.endswith(b"\n") or len(piece) == MAX_LINE_BYTES
            if not is_whole and attempt.finished_at is None:
                return
            text = piece.decode("utf-8", "replace").rstrip("\r\n").replace("\0", "")
            yield Line(attempt.number, base + file.tell(), text)
