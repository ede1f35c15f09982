"""A file on its way out."""

import hashlib
import os
from collections.abc import Callable
from typing import IO


class Upload:
    """A file as httpx reads it, piece by piece: each piece is hashed and shown."""

    def __init__(self, file: IO[bytes], show: Callable[[int], None] | None) -> None:
        self._file = file
        self._show = show
        self._shown = 0
        self._hash = hashlib.sha256()

    def rewind(self) -> None:
        """Before each try."""
        self._file.seek(0)
        self._hash = hashlib.sha256()
        if self._show:
            self._show(-self._shown)
        self._shown = 0

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        self._hash.update(piece)
        self._shown += len(piece)
        if self._show:
            self._show(len(piece))
        return piece

    def fileno(self) -> int:
        """By which httpx learns the size."""
        return self._file.fileno()

    @property
    def size(self) -> int:
        return os.fstat(self.fileno()).st_size

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()
