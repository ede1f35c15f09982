"""Moving on the orthogonal group: a P that is moved by gradients stays a rotation, or it learns only a step size.

A tangent at P is A P with A skew (n, n). The Cayley transform carries it back to the group: for any skew A
(I - A/2)⁻¹ (I + A/2) is orthogonal, and agrees with exp(A) up to second order. numpy, float64, no torch.
"""

import numpy as np
from numpy.typing import NDArray

Matrix64 = NDArray[np.float64]


def skew(matrix: Matrix64) -> Matrix64:
    """The skew part (M - Mᵀ)/2: what of a gradient is tangent to the group."""
    return 0.5 * (matrix - matrix.T)


def commutator(left: Matrix64, right: Matrix64) -> Matrix64:
    """left right - right left; skew where both are symmetric."""
    product = left @ right
    return product - product.T


def cayley(A: Matrix64) -> Matrix64:
    """The rotation of a skew A."""
    identity = np.eye(len(A))
    return np.asarray(np.linalg.solve(identity - 0.5 * A, identity + 0.5 * A))


def nearest(matrix: Matrix64) -> Matrix64:
    """The orthogonal matrix nearest to this one, by its polar factor: takes away what rounding has added."""
    left, _, right = np.linalg.svd(matrix)
    return np.asarray(left @ right)
