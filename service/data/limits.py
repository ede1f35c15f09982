"""Bounds on what one dataset may make a process read; they are checked on declared sizes first, then on real ones."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    max_bytes: int = 8 * 2**30
    """Of the file, and of all that it unpacks to."""
    max_files: int = 1_000_000
    max_pixels: int = 2**26
    """Of one image."""
    max_columns: int = 65_536


DEFAULT = Limits()
