"""Hypergradient: P is moved on the orthogonal group by what one step does to the next loss. numpy, no torch.

WarpGrad (Flennerhag et al., arXiv 1909.00025) learns a preconditioner from points θ on the trajectories of jobs, by the
loss after one more step, whatever led there: J(P) = E_θ L(θ - u(θ; P)). The gradient at the next point is
dJ/du, and training computes it anyway. Along one axis, with g and h the gradients before and after the step (n columns
each of the unfolded tensor, of norm 1), u = η Pᵀ D(Pg) and Adam's D(y)ᵢ = yᵢ/√E[yᵢ²] with its second moment at rest,

    S = E[(h gᵀ + g hᵀ)/2]     C = E[g gᵀ]     s = diag(P S Pᵀ)     d = diag(P C Pᵀ)     N(P) = Σ sᵢ/√dᵢ

and η N(P) is what the step gains to first order. So all that a job has to send is S and C: sums over steps, exact and
in any order like those of `covariance`. The meta-gradient is taken when P is solved, not where it is observed.

`greedy` climbs N. It has its optimum in the wrong place: with S = C it is Σ √dᵢ, which is concave, so by Schur the
eigenbasis of C is its *minimum* and its maxima are the bases with equal d. To first order the longest step is the
best, and a dense gradient gives the longest. That is why greedy hypergradients made P worse than Adam.

`tuned` asks for the gain at the best step size, as a user tunes it. With curvature in proportion to C (for a
log-likelihood they are the Fisher matrix and its estimate) the step costs ½ η² Q(P), Q = tr(Ĉ D̂ Ĉ D̂), Ĉ = P C Pᵀ,
D̂ = diag(d)^-½, and at the best η the gain is F(P) = N²/2Q. With S = C the eigenbasis gives (Σ√λ)²/2Σλ: it is
stationary, and far above the flat bases. What S adds is noise: directions whose gradients do not repeat count less.

P starts at the eigenbasis of C (`start="covariance"`) or at I, and climbs by Riemannian gradients [E, PCPᵀ] with the
Cayley transform, each step as long as it improves. Equal statistics give equal bytes on one machine, as `covariance`.
Measured effect: docs/learning.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from warpadam.learn import covariance
from warpadam.learn.covariance import MAX_SHARE, N0, Matrix64, Solution
from warpadam.learn.orthogonal import cayley, commutator, nearest
from warpadam.learn.packed import is_next, next_name
from warpadam.learn.statistics import Statistics
from warpadam.warpfile import ORTHOGONAL_WITHIN

STEPS = 60
"""Steps uphill at most."""
LENGTH = 0.5
"""Length of the first step tried, the Frobenius norm of its A: √2 for a turn of one plane by 1 radian."""
SHORTEST = 1e-4
"""It ends where no step of this length improves the objective,"""
GAIN = 5e-4
"""or where one improves it by less than this share."""
NO_EVIDENCE = 1e-9
"""Added to d, as a share of the trace: directions in which nothing was seen gain nothing."""
WITHIN = 1e-2
"""How far below the best that was found, as a share of it, the objective of a stored P may lie."""

Objective = Literal["tuned", "greedy"]
Start = Literal["covariance", "identity"]


@dataclass(frozen=True)
class Options:
    objective: Objective = "tuned"
    start: Start = "covariance"
    n0: int = N0
    max_share: float = MAX_SHARE


DEFAULT = Options()


def solve(statistics: Statistics, options: Options = DEFAULT) -> Solution:
    """P of these statistics; beside it d, the second moment along each of its rows, largest first.

    An axis of which no pair of gradients was seen has the P of `covariance`.
    """
    matrices: dict[str, NDArray[np.float32]] = {}
    values: dict[str, Matrix64] = {}
    with threadpool_limits(limits=1):
        means = covariance.means(statistics, n0=options.n0, max_share=options.max_share)
        for key in sorted(name for name in means if not is_next(name)):
            matrices[key], values[key] = climb(means[key], means.get(next_name(key)), options.objective, options.start)
        record = covariance.record(f"cayley ascent float64, {options.objective} from {options.start}")
    return Solution(matrices, values, record)


def verify(
    matrices: Mapping[str, NDArray[np.float32]], statistics: Statistics, options: Options = DEFAULT
) -> list[str]:
    """What is wrong with a stored P as the solution of these statistics, one line each; empty when it is one.

    Elsewhere than on the machine that solved it other bytes come out, so its objective is compared, not its entries.
    """
    expected = solve(statistics, options).matrices
    wrong = [
        f"{key}: {'missing' if key in expected else 'unknown'}" for key in sorted(expected.keys() ^ matrices.keys())
    ]
    means = covariance.means(statistics, n0=options.n0, max_share=options.max_share)
    for key in sorted(expected.keys() & matrices.keys()):
        P = matrices[key].astype(np.float64)
        if P.shape != expected[key].shape:
            wrong.append(f"{key}: size {len(P)} instead of {len(expected[key])}")
        elif np.abs(P @ P.T - np.eye(len(P))).max() > ORTHOGONAL_WITHIN:
            wrong.append(f"{key}: it is not orthogonal")
        else:
            C, S = means[key], means.get(next_name(key), means[key])
            found, best = (value(Q, C, S, options.objective) for Q in (P, expected[key].astype(np.float64)))
            if found < best - WITHIN * abs(best):
                wrong.append(f"{key}: its objective is {found:.6g}, of these statistics follows {best:.6g}")
    return wrong


def climb(C: Matrix64, S: Matrix64 | None, objective: Objective, start: Start) -> tuple[NDArray[np.float32], Matrix64]:
    """P (n, n) from C and S, and d."""
    P, values = covariance.eigenbasis(C)
    if S is None or not (C.any() and S.any()):
        return P, values
    Q = np.eye(len(C)) if start == "identity" else P.astype(np.float64)
    Chat, Shat = _turned(Q, C), _turned(Q, S)
    best, length = _value(Chat, Shat, objective), LENGTH
    for _ in range(STEPS):
        A, before = _gradient(Chat, Shat, objective), best
        norm = float(np.linalg.norm(A))
        while norm > 0 and length >= SHORTEST:
            R = cayley(A * (length / norm))
            tried = _turned(R, Chat), _turned(R, Shat)
            best = _value(*tried, objective)
            if best > before:
                break
            length /= 2
        else:
            break
        Q, (Chat, Shat), length = R @ Q, tried, 2 * length
        if best - before <= GAIN * abs(best):
            break
    return _ordered(nearest(Q), C)


def value(P: Matrix64, C: Matrix64, S: Matrix64, objective: Objective = "tuned") -> float:
    """N(P), or N²/Q with the sign of N: larger is better. Without unit."""
    return _value(_turned(P, C), _turned(P, S), objective)


def gradient(P: Matrix64, C: Matrix64, S: Matrix64, objective: Objective = "tuned") -> Matrix64:
    """The skew A for which exp(tA) P climbs steepest: with E = dF/dĈ and T = dF/dŜ, A = [E, Ĉ] + [T, Ŝ]."""
    return _gradient(_turned(P, C), _turned(P, S), objective)


def _turned(P: Matrix64, matrix: Matrix64) -> Matrix64:
    return P @ matrix @ P.T


def _value(Chat: Matrix64, Shat: Matrix64, objective: Objective) -> float:
    N, Q = _gain_and_cost(Chat, Shat)
    return N if objective == "greedy" else N * abs(N) / Q


def _gradient(Chat: Matrix64, Shat: Matrix64, objective: Objective) -> Matrix64:
    N, Q = _gain_and_cost(Chat, Shat)
    by_N, by_Q = (1.0, 0.0) if objective == "greedy" else (2 * abs(N) / Q, -N * abs(N) / Q**2)
    root = _inverse_root(Chat)
    cubed = root**3
    on_diagonal = -0.5 * by_N * np.diag(Shat) * cubed - by_Q * cubed * (np.square(Chat) @ root)
    E = by_Q * 2 * np.outer(root, root) * Chat + np.diag(on_diagonal)
    T = by_N * root  # diagonal
    return commutator(E, Chat) + T[:, None] * Shat - Shat * T


def _gain_and_cost(Chat: Matrix64, Shat: Matrix64) -> tuple[float, float]:
    root = _inverse_root(Chat)
    return float(np.diag(Shat) @ root), float(root @ np.square(Chat) @ root)


def _inverse_root(Chat: Matrix64) -> Matrix64:
    """d^-½ (n,)."""
    return np.asarray(1.0 / np.sqrt(np.diag(Chat) + NO_EVIDENCE * np.trace(Chat)))


def _ordered(P: Matrix64, C: Matrix64) -> tuple[NDArray[np.float32], Matrix64]:
    """Rows by their second moment, largest first. Order and signs do nothing to Adam."""
    moments = np.maximum((P @ C * P).sum(axis=1), 0.0)
    order = np.argsort(-moments, kind="stable")
    return np.ascontiguousarray(P[order].astype(np.float32)), moments[order]
