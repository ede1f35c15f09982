"""A P as a file: safetensors with one float32 matrix per axis key. numpy only, no torch, no pickle.

Whatever `encode` writes and `decode` returns has been checked: keys name their sizes, matrices are square and finite,
and each is either orthogonal (`max |PPᵀ - I| <= 1e-5`) or of bounded condition, and then scaled to `‖P‖F = √n` and the
file marked so: with project_back a factor c on P is a factor c on the step, never a better direction.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warpadam import tensorfile
from warpadam.shapes import key_size
from warpadam.tensorfile import TensorFileError, sha256

__all__ = ["FORMAT", "CheckedMatrices", "WarpFileError", "WarpMetadata", "check", "decode", "encode", "sha256"]

FORMAT = "warpadam.warp/1"
ORTHOGONAL_WITHIN = 1e-5
MAX_CONDITION = 1e4
MAX_HEADER = 4 * 2**20

Matrix = NDArray[np.float32]


class WarpFileError(ValueError):
    """This is not a P that we use; the message says what is wrong with it."""


@dataclass(frozen=True)
class WarpMetadata:
    """Where a P comes from. `scaled`: some matrix was not orthogonal, and was scaled to ‖P‖F = √n."""

    family: str | None = None
    version: int | None = None
    rule: str | None = None
    parent: int | None = None
    statistics_digest: str | None = None
    scaled: bool = False


@dataclass(frozen=True)
class CheckedMatrices:
    """Matrices that passed `check`. `scaled`: at least one was scaled; `orthogonal`: all are, as they stand here."""

    matrices: dict[str, Matrix]
    scaled: bool
    orthogonal: bool


def encode(matrices: Mapping[str, Matrix], metadata: WarpMetadata) -> bytes:
    """The file of a P, checked. Equal P and metadata, equal bytes."""
    checked = check(matrices)
    text = {"format": FORMAT}
    for name in ("family", "version", "rule", "parent", "statistics_digest"):
        value = getattr(metadata, name)
        if value is not None:
            text[name] = str(value)
    if metadata.scaled or checked.scaled:
        text["scaled"] = "true"
    return tensorfile.write(checked.matrices, text)


def decode(data: bytes) -> tuple[dict[str, Matrix], WarpMetadata]:
    """The matrices and the metadata of a P's file, checked. WarpFileError says what is wrong with it."""
    try:
        tensors, text = tensorfile.read(data, MAX_HEADER)
    except TensorFileError as error:
        raise WarpFileError(str(error)) from error
    if text.get("format") != FORMAT:
        raise WarpFileError(f"its format is {text.get('format')!r}, not {FORMAT!r}: this file is no P")
    for key, array in tensors.items():
        if array.dtype != np.float32:
            raise WarpFileError(f"{key}: a P is float32, this matrix is {array.dtype.name}")
    checked = check({key: array.astype(np.float32, copy=False) for key, array in tensors.items()})
    metadata = WarpMetadata(
        family=text.get("family"),
        version=_whole(text, "version"),
        rule=text.get("rule"),
        parent=_whole(text, "parent"),
        statistics_digest=text.get("statistics_digest"),
        scaled=checked.scaled or text.get("scaled") == "true",
    )
    return checked.matrices, metadata


def check(matrices: Mapping[str, Matrix]) -> CheckedMatrices:
    """The matrices sorted by key, those that are not orthogonal scaled to ‖P‖F = √n. WarpFileError where one is bad."""
    if not matrices:
        raise WarpFileError("it holds no matrix")
    found: dict[str, Matrix] = {}
    scaled, orthogonal = False, True
    for key in sorted(matrices):
        matrix = matrices[key]
        _check_shape(key, matrix)
        if not _is_orthogonal(matrix):
            rescaled = _scale(key, matrix)
            scaled = scaled or rescaled is not matrix
            orthogonal = orthogonal and _is_orthogonal(rescaled)
            matrix = rescaled
        found[key] = matrix
    return CheckedMatrices(found, scaled, orthogonal)


def _check_shape(key: str, matrix: Matrix) -> None:
    try:
        size = key_size(key)
    except ValueError as error:
        raise WarpFileError(str(error)) from error
    if matrix.dtype != np.float32:
        raise WarpFileError(f"{key}: a P is float32, this matrix is {matrix.dtype.name}")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise WarpFileError(f"{key}: a matrix must be square, this one has shape {matrix.shape}")
    if matrix.shape[0] != size:
        raise WarpFileError(f"{key}: the key says size {size}, the matrix has {matrix.shape[0]}")
    if not np.isfinite(matrix).all():
        raise WarpFileError(f"{key}: the matrix holds values that are not finite")


def _is_orthogonal(matrix: Matrix) -> bool:
    wide = matrix.astype(np.float64)
    error: float = np.abs(wide @ wide.T - np.eye(len(wide))).max()
    return error <= ORTHOGONAL_WITHIN


def _scale(key: str, matrix: Matrix) -> Matrix:
    """The matrix with ‖P‖F = √n; itself where it already has that, so that a file read and written stays the same."""
    wide = matrix.astype(np.float64)
    singular = np.linalg.svd(wide, compute_uv=False)
    if not singular[-1] * MAX_CONDITION >= singular[0] > 0:
        raise WarpFileError(
            f"{key}: neither orthogonal nor well conditioned (singular values from {singular[-1]:.3g} to "
            f"{singular[0]:.3g}; at most a factor of {MAX_CONDITION:g} is used)"
        )
    factor = np.sqrt(len(wide)) / np.sqrt(np.square(singular).sum())
    return matrix if abs(factor - 1) < 1e-6 else (wide * factor).astype(np.float32)


def _whole(text: Mapping[str, str], name: str) -> int | None:
    value = text.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise WarpFileError(f"metadata {name} must be a whole number, not {value!r}")
    return int(value)
