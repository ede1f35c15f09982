"""`Warp`: a P in memory, one matrix per axis key, and how it acts on a tensor.

For a matrix gradient G with the keys of its axes (m, n): `apply` is L G Rᵀ and `apply_transpose` is Lᵀ G R; the same
for any number of axes. An axis without a matrix is the identity and costs nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from warpadam import warpfile
from warpadam.reflector import Reflector
from warpadam.shapes import merged_shape
from warpadam.warpfile import WarpMetadata

Matrix = Tensor | Reflector
"""The matrix of one axis: dense (n, n), or a block reflector."""

Matrices = Sequence[Matrix | None]
"""One matrix per axis of a tensor; fewer than it has dimensions: the trailing ones are merged into the last axis."""


def turn(tensor: Tensor, matrices: Matrices, *, transpose: bool = False) -> Tensor:
    """Each matrix (or its transpose) applied along its axis: (m, n) with L (m, m) and R (n, n) gives L G Rᵀ."""
    sizes = merged_shape(tensor.shape, len(matrices))
    turned = tensor
    for axis, matrix in enumerate(matrices):
        if matrix is not None:
            before, size, after = prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :])
            if after == 1:
                turned = _along_rows(turned.reshape(before, size), matrix, transpose)
            else:
                shape = (size, after) if before == 1 else (before, size, after)
                turned = _along_columns(turned.reshape(shape), matrix, transpose)
    return turned.reshape(tensor.shape)


def turn_stacked(tensor: Tensor, matrices: Matrices, *, transpose: bool = False) -> Tensor:
    """`turn` for k tensors at once: (k, m, n) with each matrix shared (n, n), or one for each (k, n, n)."""
    k, sizes = len(tensor), merged_shape(tensor.shape[1:], len(matrices))
    turned = tensor
    for axis, matrix in enumerate(matrices):
        if matrix is None:
            continue
        if isinstance(matrix, Reflector) or matrix.ndim == 2:
            row: list[Matrix | None] = [None] * (1 + len(sizes))
            row[1 + axis] = matrix
            turned = turn(turned.reshape(k, *sizes), row, transpose=transpose)
            continue
        M = matrix.mT if transpose else matrix
        before, size, after = prod(sizes[:axis]), sizes[axis], prod(sizes[axis + 1 :])
        if after == 1:
            turned = torch.bmm(turned.reshape(k, before, size), M.mT)
        elif before == 1:
            turned = torch.bmm(M, turned.reshape(k, size, after))
        else:
            turned = M[:, None] @ turned.reshape(k, before, size, after)
    return turned.reshape(tensor.shape)


def _along_rows(x: Tensor, matrix: Matrix, transpose: bool) -> Tensor:
    if isinstance(matrix, Reflector):
        return matrix.along_rows(x, transpose=transpose)
    return x @ (matrix if transpose else matrix.mT)


def _along_columns(x: Tensor, matrix: Matrix, transpose: bool) -> Tensor:
    if isinstance(matrix, Reflector):
        return matrix.along_columns(x, transpose=transpose)
    return (matrix.mT if transpose else matrix) @ x


class Warp:
    """A checked P. Matrices are float32 and square, of the size their key names (see `warpfile.check`).

    WarpFileError, a ValueError, says what is wrong with a matrix or a file.
    """

    def __init__(self, matrices: Mapping[str, Tensor | ArrayLike], metadata: WarpMetadata | None = None) -> None:
        checked = warpfile.check({key: _float32(matrix) for key, matrix in matrices.items()})
        given = metadata or WarpMetadata()
        self.metadata = given if given.scaled or not checked.scaled else _marked(given)
        self.is_orthogonal = checked.orthogonal
        self._matrices = {key: torch.from_numpy(matrix.copy()) for key, matrix in checked.matrices.items()}
        self._reflectors: dict[str, Reflector] = {}
        self._placed: dict[tuple[str, torch.device, torch.dtype], Matrix] = {}
        self._digest: str | None = None

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Warp":
        """The P in a file, as `warpadam warps pull` writes it."""
        return cls.from_bytes(Path(path).read_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Warp":
        return cls(*warpfile.decode(data))

    def save(self, path: str | PathLike[str]) -> None:
        Path(path).write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        return warpfile.encode(self._arrays(), self.metadata)

    def keys(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(self._matrices)

    @property
    def matrices(self) -> Mapping[str, Tensor]:
        """Key -> float32 matrix on the CPU."""
        return dict(self._matrices)

    @property
    def digest(self) -> str:
        """sha256 of the matrices alone, whatever the metadata says."""
        if self._digest is None:
            self._digest = warpfile.sha256(warpfile.encode(self._arrays(), WarpMetadata()))
        return self._digest

    @property
    def nbytes(self) -> int:
        """What the matrices take in memory, reflectors in their short form."""
        dense = (matrix.nbytes for key, matrix in self._matrices.items() if key not in self._reflectors)
        return sum(dense) + sum(4 * reflector.numel for reflector in self._reflectors.values())

    def reflected(self, directions: int, keys: Iterable[str] | None = None) -> "Warp":
        """A cheaper P that turns only the strongest `directions` of each axis, its matrices' first rows.

        `keys`: these axes only, the others stay as they are. An axis below twice as many directions stays as it is
        too: there the short form would cost more. A file of such a P holds the dense matrices. ValueError where P is
        not orthogonal.
        """
        if not self.is_orthogonal:
            raise ValueError("block reflectors are orthogonal, and this P is not")
        chosen = set(self.keys() if keys is None else keys)
        short = {
            key: Reflector.of(matrix, directions)
            for key, matrix in self._matrices.items()
            if key in chosen and len(matrix) > 2 * directions
        }
        dense = {key: short[key].dense() if key in short else matrix for key, matrix in self._matrices.items()}
        reflected = Warp(dense, self.metadata)
        reflected._reflectors = short
        return reflected

    def matrix(self, key: str, device: torch.device, dtype: torch.dtype) -> Matrix:
        """The matrix of a key on that device, copied there once."""
        place = (key, device, dtype)
        if place not in self._placed:
            stored = self._reflectors.get(key, self._matrices[key])
            self._placed[place] = stored.to(device, dtype)
        return self._placed[place]

    def apply(self, gradient: Tensor, keys: Sequence[str | None]) -> Tensor:
        """P G, with the keys of G's axes; a key that this P does not have is the identity."""
        return turn(gradient, self._along(gradient, keys))

    def apply_transpose(self, update: Tensor, keys: Sequence[str | None]) -> Tensor:
        """Pᵀ U, the way back."""
        return turn(update, self._along(update, keys), transpose=True)

    def _along(self, tensor: Tensor, keys: Sequence[str | None]) -> list[Matrix | None]:
        sizes = merged_shape(tensor.shape, len(keys))
        found: list[Matrix | None] = []
        for axis, key in enumerate(keys):
            if key is None or key not in self._matrices:
                found.append(None)
                continue
            matrix = self.matrix(key, tensor.device, tensor.dtype)
            if len(matrix) != sizes[axis]:
                raise ValueError(f"{key}: the matrix has size {len(matrix)}, axis {axis} of the tensor {sizes[axis]}")
            found.append(matrix)
        return found

    def _arrays(self) -> dict[str, warpfile.Matrix]:
        return {key: matrix.numpy() for key, matrix in self._matrices.items()}

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_placed": {}}  # copies on a device stay in the process that made them

    def __repr__(self) -> str:
        return f"Warp({', '.join(self._matrices)})"


def _float32(matrix: Tensor | ArrayLike) -> warpfile.Matrix:
    if isinstance(matrix, Tensor):
        matrix = matrix.detach().cpu().to(torch.float32).numpy()
    return np.ascontiguousarray(matrix, dtype=np.float32)


def _marked(metadata: WarpMetadata) -> WarpMetadata:
    return replace(metadata, scaled=True)
