"""Images: a folder per class, in a folder or a zip. Optionally `train` and `val` above the classes.

Nothing is unpacked to disk, so no name in an archive can lead anywhere; names that try are refused all the same. Sizes
are checked as declared, and reading stops where a file turns out larger.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from service.data.arrays import empty
from service.data.checks import blocks
from service.data.errors import DataError
from service.data.limits import Limits
from service.data.raw import Array, Part, Place, Raw
from service.data.source import UNREADABLE, FileSource, FolderSource, Member
from service.spec import DatasetOptions

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GRAY = {"1", "L", "LA"}
_SIXTEEN_BIT = {"I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
_TRAIN, _VAL, _TEST = {"train", "training"}, {"val", "valid", "validation"}, {"test", "testing"}


@dataclass(frozen=True)
class _Labelled:
    """An image's file, with its path from the folder that holds the classes."""

    member: Member
    parts: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.parts[0]


def read_images(source: FileSource | FolderSource, options: DatasetOptions, limits: Limits) -> Raw:
    """Raises DataError."""
    if isinstance(source, FolderSource):
        return _read(source.name, source.members, options, limits)
    with _unzipped(source, limits) as members:
        return _read(source.name, members, options, limits)


def _read(name: str, members: Sequence[Member], options: DatasetOptions, limits: Limits) -> Raw:
    images, warnings = _images(name, members)
    if options.target:
        warnings.append("target names a column, and image folders name their classes: it was not used.")
    images = _without_common_folder(images)
    for image in images:
        if len(image.parts) < 2:
            raise DataError(
                f"{name}: {image.member.path} is in no class folder. Make one folder per class, named for it, "
                "and put each image into its class's folder."
            )
    tops = {image.label.lower() for image in images}
    if tops <= _TRAIN | _VAL | _TEST and tops & _TRAIN and len(tops) > 1:
        return _read_split(name, images, warnings, limits)
    pixels = _stack(name, images, limits)
    return Raw("images", _part(name, images, pixels), warnings=warnings)


def _read_split(name: str, images: Sequence[_Labelled], warnings: list[str], limits: Limits) -> Raw:
    train, val = ([_below(image) for image in images if image.label.lower() in tops] for tops in (_TRAIN, _VAL))
    for image in (*train, *val):
        if len(image.parts) < 2:
            raise DataError(f"{name}: {image.member.path} is in no class folder below its part: move it into one.")
    if len(train) + len(val) < len(images):
        warnings.append("Not read: test. To validate on it, name it val.")
    pixels = _stack(name, [*train, *val], limits)
    validation = _part(name, val, pixels[len(train) :]) if val else None
    return Raw("images", _part(name, train, pixels[: len(train)]), validation, warnings=warnings)


def _below(image: _Labelled) -> _Labelled:
    return _Labelled(image.member, image.parts[1:])


def _images(name: str, members: Sequence[Member]) -> tuple[list[_Labelled], list[str]]:
    """The image files in order of their paths, and a warning for others; what systems add by themselves is left out."""
    images, others = [], []
    for member in sorted(members, key=lambda member: member.path):
        parts = PurePosixPath(member.path).parts
        if any(part.startswith((".", "__MACOSX")) for part in parts) or parts[-1] in ("Thumbs.db", "desktop.ini"):
            continue
        if member.path.lower().endswith(ENDINGS):
            images.append(_Labelled(member, parts))
        else:
            others.append(member.path)
    if not images:
        raise DataError(f"{name} holds no images: put them into one folder per class, as {', '.join(ENDINGS[:4])}.")
    shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return images, [f"Not read, for they are no images: {shown}."] if others else []


def _without_common_folder(images: list[_Labelled]) -> list[_Labelled]:
    """Drops folders that hold everything and are no class: an archive often packs the folder itself."""
    while len({image.label for image in images}) == 1 and all(len(image.parts) > 2 for image in images):
        images = [_below(image) for image in images]
    return images


def _part(name: str, images: Sequence[_Labelled], pixels: Array) -> Part:
    labels = np.array([image.label for image in images], dtype=np.str_)

    def of_image(index: tuple[int, ...]) -> str:
        return f"{name}: {images[index[0]].member.path}" if index else name

    def of_label(index: tuple[int, ...]) -> str:
        return of_image(index) if index else f"the class folders of {name}"

    return Part(pixels, labels, cast(Place, of_image), cast(Place, of_label))


def _stack(name: str, images: Sequence[_Labelled], limits: Limits) -> Array:
    """All images as uint8 N,H,W,C: one channel where all are gray, else three."""
    first = _decode(name, images[0].member, limits)
    if len(images) * first.nbytes > limits.max_bytes:
        raise DataError(
            f"{name} unpacks to {len(images) * first.nbytes} bytes; at most {limits.max_bytes} are accepted: "
            "take fewer or smaller images."
        )
    pixels = empty((len(images), *first.shape), np.uint8, limits)
    for place, image in enumerate(images):
        decoded = first if place == 0 else _decode(name, image.member, limits)
        if decoded.shape[:2] != first.shape[:2]:
            (height, width), (other, another) = first.shape[:2], decoded.shape[:2]
            raise DataError(
                f"{name}: {images[0].member.path} has {width}x{height} pixels and {image.member.path} "
                f"{another}x{other}: resize all images to one size."
            )
        if decoded.shape[2] > pixels.shape[3]:
            pixels = _colored(pixels, place, limits)
        pixels[place] = decoded
    return pixels


def _colored(gray: Array, count: int, limits: Limits) -> Array:
    """The same with three channels; the first `count` images are there already."""
    pixels = empty((*gray.shape[:3], 3), np.uint8, limits)
    for rows in blocks(count, int(np.prod(gray.shape[1:]))):
        pixels[rows] = gray[rows]
    return pixels


def _decode(name: str, member: Member, limits: Limits) -> Array:
    """One image as uint8 H,W,1 or H,W,3; of an animation the first picture; without transparency."""
    where = f"{name}: {member.path}"
    if member.size > limits.max_bytes:
        raise DataError(f"{where} has {member.size} bytes, which is too large for an image here.")
    try:
        with member.open() as file:
            encoded = file.read(member.size + 1)
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > limits.max_pixels:
                raise DataError(f"{where} has {width}x{height} pixels; at most {limits.max_pixels}: make it smaller.")
            if image.mode in _SIXTEEN_BIT:
                raise DataError(f"{where} has more than 8 bits per channel: save it with 8, or the arrays as .npz.")
            gray = image.mode in _GRAY
            array: Array = np.asarray(image.convert("L" if gray else "RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where} has too many pixels; at most {limits.max_pixels}: make it smaller.") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{where} is no image that can be read here: save it as PNG or JPEG.") from error
    except (*UNREADABLE, ValueError, SyntaxError) as error:
        raise DataError(f"{where} cannot be read ({error}): replace it, or leave it out.") from error
    return array[..., None] if gray else array


@contextmanager
def _unzipped(source: FileSource, limits: Limits) -> Iterator[list[Member]]:
    with source.open() as file:
        try:
            archive = zipfile.ZipFile(file)
            infos = [info for info in archive.infolist() if not info.is_dir()]
        except (*UNREADABLE, ValueError) as error:
            raise DataError(f"{source.name} is no readable zip file ({error}): pack it again.") from error
        with archive:
            _check_archive(source.name, infos, limits)
            yield [_member(archive, info) for info in infos]


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    return Member(info.filename, info.file_size, lambda: cast(BinaryIO, archive.open(info)))


def _check_archive(name: str, infos: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
    if len(infos) > limits.max_files:
        raise DataError(f"{name} holds {len(infos)} files; at most {limits.max_files} are accepted.")
    declared = sum(info.file_size for info in infos)
    if declared > limits.max_bytes:
        raise DataError(f"{name} unpacks to {declared} bytes; at most {limits.max_bytes} are accepted.")
    for info in infos:
        path = PurePosixPath(info.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
            raise DataError(f"{name} holds a file named {info.filename!r}, which leads outside: pack the folder again.")
        if info.flag_bits & 1:
            raise DataError(f"{name} is encrypted: pack it without a password.")
