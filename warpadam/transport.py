"""How Adam's moments move from one P's coordinates to another's, one axis at a time.

Under R = P′Pᵀ the first moment is a vector, m ← R m; the second is the diagonal of a covariance that is known by its
diagonal only, v ← (R∘R) v, which is exact for a signed permutation and keeps the sum of v for any rotation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from warpadam.reflector import Reflector
from warpadam.warp import Matrices, Matrix, turn

PERMUTATION_WITHIN = 2e-5
"""P and P′ are orthogonal within 1e-5 each, so an R this near to a signed permutation is one."""


def rotations(old: Matrices, new: Matrices) -> list[Tensor | None]:
    """R per axis, None where nothing changes; an empty list where no axis does. () is the identity on every axis."""
    count = max(len(old), len(new))
    before = old or (None,) * count
    after = new or (None,) * count
    found = [_rotation(P, Q) for P, Q in zip(before, after, strict=True)]
    return found if any(R is not None for R in found) else []


def transport(exp_avg: Tensor, exp_avg_sq: Tensor, turned: Sequence[Tensor | None]) -> tuple[Tensor, Tensor]:
    """m and v in the new coordinates."""
    squared = [None if R is None else R.square() for R in turned]
    return turn(exp_avg, turned), turn(exp_avg_sq, squared)


def _rotation(former: Matrix | None, latter: Matrix | None) -> Tensor | None:
    if former is latter:
        return None
    old, new = _dense(former), _dense(latter)
    some = old if old is not None else new
    assert some is not None
    identity = torch.eye(len(some), dtype=torch.float64, device=some.device)
    P = identity if old is None else old.double()
    Q = identity if new is None else new.double()
    # The inverse of an orthogonal P is its transpose; of one that is not, this is what carries ĝ = P g over to P′ g.
    orthogonal = bool((P @ P.mT - identity).abs().max() <= 1e-5)
    R = Q @ (P.mT if orthogonal else torch.linalg.inv(P))
    if _is_signed_permutation(R.round()) and bool((R - R.round()).abs().max() <= PERMUTATION_WITHIN):
        R = R.round()
    return None if torch.equal(R, identity) else R.to(some.dtype)


def _is_signed_permutation(R: Tensor) -> bool:
    ones = R.abs()
    return bool(((ones == 0) | (ones == 1)).all() and (ones.sum(0) == 1).all() and (ones.sum(1) == 1).all())


def _dense(matrix: Matrix | None) -> Tensor | None:
    return matrix.dense() if isinstance(matrix, Reflector) else matrix
