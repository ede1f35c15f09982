"""Whatever bytes come in, a reader either reads them or says DataError: nothing else gets out."""

import io
import random
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.data import DataError, Limits, inspect
from service.spec import DatasetOptions, Format
from tests.service.data.sources import color, file, gray, zipped


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": [1, 2, 3], "target": ["x", "y", "x"]}), buffer)
    return buffer.getvalue()


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _unpacked(members: dict[str, bytes]) -> bytes:
    """A zip without compression or, it seems, damage: what is inside it gets to its reader."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _damaged(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 8])):
        at = dice.randrange(len(changed))
        match dice.randrange(4):
            case 0:
                changed[at] = dice.randrange(256)
            case 1:
                changed[at] ^= 1 << dice.randrange(8)
            case 2:
                changed[at:at] = dice.randbytes(3)
            case _:
                del changed[at : at + dice.randrange(1, 9)]
        if not changed:
            break
    return bytes(changed)


def _any_file(form: Format, dice: random.Random) -> bytes:
    x, y = _npy(np.arange(20.0).reshape(10, 2)), _npy(np.arange(10))
    match form, dice.random() < 0.5:
        case "npz", True:
            return _unpacked({"x.npy": _damaged(x, dice), "y.npy": _damaged(y, dice)})
        case "npz", False:
            return _damaged(_unpacked({"x.npy": x, "y.npy": y}), dice)
        case "images", True:
            return _unpacked({"a/1.png": _damaged(color(), dice), "b/1.png": gray()})
        case "images", False:
            return _damaged(zipped({"a/1.png": color(), "b/1.png": gray()}).open().read(), dice)
        case "parquet", _:
            return _damaged(_parquet(), dice)
    return _damaged(b'a,"b c",target\n1,2,x\n3,4,"y z"\n5,6,x\n', dice)


@pytest.mark.parametrize("form", ["npz", "csv", "parquet", "images"])
def test_damage_is_always_told(form: Format) -> None:
    dice = random.Random(form)
    options = DatasetOptions(format=form)
    for _ in range(400):
        content = _any_file(form, dice)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Pillow's, about metadata
                inspect(file("data", content), options, Limits(max_bytes=1 << 24))
        except DataError as error:
            assert str(error).isprintable()  # noqa: PT017 - most damage is told, some changes are none
