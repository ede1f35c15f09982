"""`.npz`: `x_train, y_train, x_val, y_val`, or `x, y`: numbers of any type, order and endianness. Never by pickle."""

import math
import zipfile
from tokenize import TokenError
from typing import BinaryIO, cast

import numpy as np

from service.data.arrays import empty, fill
from service.data.errors import DataError
from service.data.info import Kind
from service.data.limits import Limits
from service.data.raw import Array, Part, Raw, indexed
from service.data.source import UNREADABLE, FileSource
from service.spec import DatasetOptions

_READ = ("x_train", "y_train", "x_val", "y_val", "x", "y")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_WANTED = "x_train, y_train, x_val and y_val, or x_train and y_train, or x and y"


def read_npz(source: FileSource, options: DatasetOptions, limits: Limits) -> Raw:
    """Raises DataError."""
    with source.open() as file:
        arrays, extra = _arrays(file, source.name, limits)
    x_name, y_name = _names(source.name, set(arrays))
    warnings = [_extra_warning(extra)] if extra else []
    if options.target:
        warnings.append("target names a column, and an .npz names its targets y: it was not used.")
    train, kind = _part(arrays, x_name, y_name, warnings)
    val = None
    if "x_val" in arrays:
        val, val_kind = _part(arrays, "x_val", "y_val", [])
        if val_kind != kind:
            raise DataError(
                f"{x_name} has shape {arrays[x_name].shape} and x_val {arrays['x_val'].shape}: "
                "give both the same dimensions."
            )
    return Raw(kind, train, val, warnings=warnings)


def _arrays(file: BinaryIO, name: str, limits: Limits) -> tuple[dict[str, Array], list[str]]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = [key for key in _READ if key in members]
            declared = sum(members[key].file_size for key in wanted)
            if declared > limits.max_bytes:
                raise DataError(
                    f"{name} unpacks to {declared} bytes; at most {limits.max_bytes} are accepted: take a part of it."
                )
            arrays = {key: _array(archive, members[key], f"{name}: {key}", limits) for key in wanted}
    except UNREADABLE as error:
        raise DataError(f"{name} is no readable .npz file ({error}): write it with numpy.savez.") from error
    return arrays, sorted(set(members) - set(wanted))


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, limits: Limits) -> Array:
    """One array; what the archive declares bounds what is read, and the array's header cannot ask for more."""
    try:
        with archive.open(member) as file:
            return _read_array(cast(BinaryIO, file), member.file_size, limits)
    except (ValueError, EOFError, MemoryError, OverflowError, TypeError, SyntaxError, TokenError) as error:
        if "Object arrays" in str(error):
            raise DataError(
                f"{name} is an object array, which only pickle could read: convert it before saving, "
                "for example with numpy.stack for rows of equal length, or .astype(str) for labels."
            ) from error
        raise DataError(f"{name} is no readable array ({error}): write the file with numpy.savez.") from error


def _read_array(file: BinaryIO, size: int, limits: Limits) -> Array:
    """What `numpy.save` wrote in `size` bytes, in this machine's byte order. Never an object, so never a pickle."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"it has the version {version} of the format")
    shape, is_fortran, kind = _HEADERS[version](file)
    if kind.hasobject:
        raise ValueError("Object arrays cannot be loaded")
    if not kind.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"it has the type {kind} and the shape {shape}, which hold nothing")
    if math.prod(shape) * kind.itemsize > size - file.tell():
        raise ValueError("its header promises more than the file holds")
    array = empty(shape[::-1] if is_fortran else shape, kind, limits)
    fill(array, file)
    file.read(1)  # the end, where the archive compares its checksum
    if kind.fields is None and not kind.isnative:
        array = array.byteswap(inplace=True).view(kind.newbyteorder("="))
    return array.T if is_fortran else array


def _names(name: str, found: set[str]) -> tuple[str, str]:
    """The names of the training arrays. Raises DataError where the arrays are not one of the accepted sets."""
    if ("x_val" in found) != ("y_val" in found):
        there, missing = ("x_val", "y_val") if "x_val" in found else ("y_val", "x_val")
        raise DataError(f"{name} holds {there} without {missing}: add {missing}, or leave both out.")
    whole, split = {"x", "y"}, {"x_train", "y_train"}
    if split <= found:
        return "x_train", "y_train"
    if "x_val" in found:
        raise DataError(f"{name} has x_val and y_val without x_train and y_train: it must hold {_WANTED}.")
    if whole <= found and not split & found:
        return "x", "y"
    held = ", ".join(sorted(found)) or "none of these"
    raise DataError(f"{name} must hold the arrays {_WANTED}; it holds {held}. Names are in lowercase.")


def _extra_warning(extra: list[str]) -> str:
    shown = ", ".join(extra[:8]) + (" and more" if len(extra) > 8 else "")
    hint = " To validate on x_test and y_test, name them x_val and y_val." if "x_test" in extra else ""
    return f"Not read: {shown}.{hint}"


def _part(arrays: dict[str, Array], x_name: str, y_name: str, warnings: list[str]) -> tuple[Part, Kind]:
    x, kind = _inputs(arrays[x_name], x_name, warnings)
    return Part(x, arrays[y_name], indexed(x_name), indexed(y_name)), kind


def _inputs(x: Array, name: str, warnings: list[str]) -> tuple[Array, Kind]:
    """Inputs as (rows, columns) or N,H,W,C."""
    if x.ndim == 1:
        return x[:, None], "table"
    if x.ndim == 2:
        return x, "table"
    if x.ndim == 3:
        warnings.append(f"{name} has shape {x.shape}: understood as images of one channel, N,H,W.")
        return x[..., None], "images"
    if x.ndim != 4:
        raise DataError(
            f"{name} has shape {x.shape}; inputs are (rows, columns), or images N,H,W or N,H,W,C: reshape it."
        )
    if x.shape[1] in (1, 3, 4) and x.shape[3] not in (1, 2, 3, 4):
        raise DataError(
            f"{name} has shape {x.shape}, which looks like N,C,H,W; images are N,H,W,C: "
            f"save {name}.transpose(0, 2, 3, 1)."
        )
    return x, "images"
