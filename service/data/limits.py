"""Bounds on what one dataset may make a process read; they are checked on declared sizes first, then on real ones."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    max_bytes: int = 8 * 2**30
    """Of the file, and of all that it unpacks to."""
    max_files: int = 1_000_000
    max_pixels: int = 2**26
    """Of one image."""
    max_columns: int = 65_536
    memory_bytes: int = 2**30
    """Arrays larger than this lie in mapped files instead of in memory (`service.data.arrays`)."""
    scratch: Path | None = None
    """Folder of these files; None: the system's temporary folder."""


DEFAULT = Limits()
