"""A cheaper matrix of an axis: an orthogonal map that turns only the r strongest directions of a P.

Q = I - V T Vᵀ is the product of r Householder reflections in compact WY form (Schreiber & Van Loan, 1989). It maps the
first r rows of P to ± the first r unit vectors, in their order; the other directions get some basis among themselves.
To apply it costs 4 n r operations a column instead of 2 n², and n r + r² numbers: it pays below r = n/2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Reflector:
    """I - V T Vᵀ with V (n, r) and T (r, r), orthogonal within rounding."""

    V: Tensor
    T: Tensor

    @classmethod
    def of(cls, matrix: Tensor, directions: int) -> "Reflector":
        """The block reflector that does what an orthogonal (n, n) `matrix` does to its first `directions` rows.

        In float64, stored in the matrix's type. ValueError where `directions` is not from 1 to n.
        """
        size = len(matrix)
        if not 1 <= directions <= size:
            raise ValueError(f"directions must be from 1 to {size}, the size of the matrix, not {directions}")
        # QR of the wanted directions E (n, r) gives E = Q [S; 0] with S = ±1: Qᵀ takes each to ± its own unit vector.
        packed, tau = torch.geqrf(matrix[:directions].mT.double().contiguous())
        V = packed.tril(-1) + torch.eye(size, directions, dtype=packed.dtype, device=packed.device)
        return cls(V.to(matrix.dtype), _triangle(V, tau).mT.contiguous().to(matrix.dtype))

    @property
    def device(self) -> torch.device:
        return self.V.device

    @property
    def dtype(self) -> torch.dtype:
        return self.V.dtype

    @property
    def numel(self) -> int:
        """How many numbers it holds."""
        return self.V.numel() + self.T.numel()

    def __len__(self) -> int:
        return len(self.V)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Reflector":
        return Reflector(self.V.to(device, dtype), self.T.to(device, dtype))

    def dense(self) -> Tensor:
        """The (n, n) matrix."""
        V = self.V.double()
        identity = torch.eye(len(V), dtype=V.dtype, device=V.device)
        return (identity - V @ self.T.double() @ V.mT).to(self.dtype)

    def along_rows(self, x: Tensor, *, transpose: bool) -> Tensor:
        """x Qᵀ, or x Q where `transpose`: each row of x (..., n) turned."""
        T = self.T if transpose else self.T.mT
        return x - ((x @ self.V) @ T) @ self.V.mT

    def along_columns(self, x: Tensor, *, transpose: bool) -> Tensor:
        """Q x, or Qᵀ x where `transpose`: each column of x (..., n, k) turned."""
        T = self.T.mT if transpose else self.T
        return x - self.V @ (T @ (self.V.mT @ x))


def _triangle(V: Tensor, tau: Tensor) -> Tensor:
    """T (r, r), upper, with H₁ H₂ … H_r = I - V T Vᵀ: one column for each further reflection."""
    T = torch.diag(tau)
    for i in range(1, len(tau)):
        T[:i, i] = -tau[i] * (T[:i, :i] @ (V[:, :i].mT @ V[:, i]))
    return T
