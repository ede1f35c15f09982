"""How well a P diagonalises what a job's gradients were seen to be. numpy, no torch.

Adam scales each coordinate by itself, so what it cannot use is what the coordinates have in common: the entries off the
diagonal of the gradients' second moment C. Of these P C Pᵀ leaves some; what it takes away is measured here.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating]


def removed(matrices: Mapping[str, Matrix], moments: Mapping[str, Matrix]) -> float:
    """The share, at most 1, of the moments' off-diagonal energy that P takes away, over all of their axes together.

        1 - Σ_k ‖off(P_k C_k P_kᵀ)‖² / Σ_k ‖off(C_k)‖²

    A signed permutation has 0, as has no P; the moments' own eigenbasis has 1; less than 0: it mixes what was apart. An
    axis without a matrix keeps what it has. `moments`: key -> (n, n), symmetric; `matrices` may know other axes too.
    """
    before = after = 0.0
    for key, moment in moments.items():
        C = moment.astype(np.float64)
        C = C / max(float(np.trace(C)), np.finfo(np.float64).tiny)
        before += _off(C)
        if (P := matrices.get(key)) is not None:
            C = P.astype(np.float64) @ C @ P.astype(np.float64).T
        after += _off(C)
    return 1.0 - after / before if before > 0 else 0.0


def _off(matrix: Matrix) -> float:
    return float(np.square(matrix).sum() - np.square(np.diag(matrix)).sum())
