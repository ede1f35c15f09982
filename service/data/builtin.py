"""Datasets that every machine has: scikit-learn's digits, and the source of Python's own standard library as text."""

import gzip
import hashlib
import os
import platform
import re
import sysconfig
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from service.data.errors import DataError
from service.data.raw import Part, Raw, RawText, indexed
from service.data.source import BuiltinSource

_SKIPPED = {"site-packages", "dist-packages", "__pycache__", "test", "tests", "idle_test"}
_PART = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def release(source: BuiltinSource) -> str:
    """Whose data it is: another release may bring other data, so it is part of what identifies a registration."""
    if source.name == "digits":
        return f"scikit-learn {metadata.version('scikit-learn')}"
    return f"Python {platform.python_version()}"


def digest(source: BuiltinSource) -> str:
    """sha256 of its bytes. Raises DataError where it is not there."""
    return hashlib.sha256(_digits_file() if source.name == "digits" else _library(source.part)).hexdigest()


def read(source: BuiltinSource) -> Raw | RawText:
    """Raises DataError where it is not there."""
    if source.name == "digits":
        return _digits()
    return RawText(_library(source.part), f"python-text/{source.part}" if source.part else "python-text")


def _digits() -> Raw:
    """1797 handwritten digits of 8x8 pixels, 0 to 1."""
    lines = gzip.decompress(_digits_file()).decode().splitlines()
    table = np.loadtxt(lines, delimiter=",")
    x = (table[:, :-1] / 16).reshape(-1, 8, 8, 1).astype(np.float32)
    return Raw("images", Part(x, table[:, -1].astype(np.int64), indexed("digits"), indexed("labels")))


def _digits_file() -> bytes:
    """The file is read without importing scikit-learn, which takes a second."""
    spec = find_spec("sklearn")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            return path.read_bytes()
    raise DataError("scikit-learn is not installed on the server, and digits is its data: install it.")


def _library(part: str | None) -> bytes:
    """The sources below a subpackage (a module, or everything), in the order of their paths, one after the other."""
    root = Path(sysconfig.get_path("stdlib"))
    if part is None:
        return b"".join(path.read_bytes() for path in _sources(root, root))
    if _PART.fullmatch(part):
        base = root.joinpath(*part.split("."))
        if base.is_dir() and not _SKIPPED & set(part.split(".")) and (files := _sources(base, root)):
            return b"".join(path.read_bytes() for path in files)
        if (module := base.with_suffix(".py")).is_file():
            return module.read_bytes()
    raise DataError(f"python-text has no part {part!r}. Some that it has: {', '.join(_packages(root)[:40])}.")


def _sources(base: Path, root: Path) -> list[Path]:
    """Python files below `base`, without tests and without what was installed later."""
    found = []
    for folder, folders, files in os.walk(base):
        folders[:] = [name for name in folders if name not in _SKIPPED]  # site-packages can be huge: never walked
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


def _packages(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("*/__init__.py") if path.parent.name not in _SKIPPED)
