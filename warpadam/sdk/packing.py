"""A folder of Python as a package to upload: equal folders give equal files, so the same sha256 and the same axes."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONG_AGO = (1980, 1, 1, 0, 0, 0)


@contextmanager
def packed(folder: Path) -> Iterator[Path]:
    """A zip whose one top folder is this one; `__pycache__` and what begins with a dot are left out."""
    root = folder.resolve()
    with tempfile.TemporaryDirectory(prefix="warpadam-") as temporary:
        path = Path(temporary) / f"{root.name}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(root.rglob("*")):
                inside = file.relative_to(root)
                if file.is_file() and not any(part == "__pycache__" or part.startswith(".") for part in inside.parts):
                    info = zipfile.ZipInfo(f"{root.name}/{inside.as_posix()}", _LONG_AGO)
                    info.compress_type = zipfile.ZIP_DEFLATED
                    archive.writestr(info, file.read_bytes())
        yield path
