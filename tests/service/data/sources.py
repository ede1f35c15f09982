"""Sources made in memory, as a user would make the files."""

import io
import zipfile
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.data import FileSource


def file(name: str, content: bytes) -> FileSource:
    return FileSource(name, len(content), lambda: io.BytesIO(content))


def npz(**arrays: object) -> FileSource:
    """Pickles allowed, as `numpy.savez` does by default: object arrays get in, and must be refused when read."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items()})
    return file("data.npz", buffer.getvalue())


def csv(text: str, name: str = "data.csv") -> FileSource:
    return file(name, text.encode())


def zipped(members: Mapping[str, bytes], name: str = "images.zip") -> FileSource:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in members.items():
            archive.writestr(path, content)
    return file(name, buffer.getvalue())


def image(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def gray(value: int = 0, size: int = 4) -> bytes:
    return image(np.full((size, size), value, dtype=np.uint8))


def color(value: int = 0, size: int = 4) -> bytes:
    return image(np.full((size, size, 3), value, dtype=np.uint8))
