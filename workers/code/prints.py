"""What user code prints, on its way to the job's log: whole lines, without control characters, and never too much."""

import time
from collections.abc import Callable

from workers.code.frames import plain

BURST, PER_S, MOST = 2**18, 2**15, 2**24
"""Bytes at once, bytes a second for long, and bytes in all that one worker's code may print."""
LONGEST = 4000
"""Characters of a line."""


class Prints:
    """Takes pieces, posts lines. What is too much is dropped, and how much that was is said."""

    def __init__(self, rank: int, post: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._rank, self._post, self._clock = rank, post, clock
        self._rest = b""
        self._room, self._at = float(BURST), clock()
        self._kept = self._dropped = 0

    def feed(self, piece: bytes) -> None:
        now = self._clock()
        self._room = min(BURST, self._room + (now - self._at) * PER_S)
        self._at = now
        if len(piece) > self._room or self._kept + len(piece) > MOST:
            self._dropped += len(piece)
            self._rest = b""
            return
        self._room -= len(piece)
        self._kept += len(piece)
        lines = (self._rest + piece).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LONGEST * 4:
            lines.append(self._rest)
            self._rest = b""
        self._say(lines)

    def close(self) -> None:
        self._say([self._rest] if self._rest else [])
        self._rest = b""

    def _say(self, lines: list[bytes]) -> None:
        told = [_plain(line) for line in lines]
        if self._dropped and (told or not lines):
            told.append(f"… {self._dropped} bytes of what the code printed were not kept")
            self._dropped = 0
        if told:
            self._post("".join(f"worker {self._rank} | {line}\n" for line in told))


def _plain(line: bytes) -> str:
    return plain(line.decode(errors="replace")[:LONGEST])
