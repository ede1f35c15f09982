import numpy as np

from warpadam.learn.covariance import solve
from warpadam.learn.packed import Packed, add_sums, pack
from warpadam.learn.statistics import JobSum, Statistics

MERGES = 10_000


def test_p_is_orthogonal_in_float32_after_ten_thousand_merges() -> None:
    """Of one-step statistics of rank one, most of them along one direction."""
    draw = np.random.default_rng(0)
    total: dict[str, Packed] = {}
    seen = [draw.standard_normal(12) * np.logspace(0, -6, 12) for _ in range(200)]
    one_each = [{"input:12": pack(np.outer(g, g) / (g @ g))} for g in seen]
    for merge in range(MERGES):
        total = add_sums(total, one_each[merge % len(one_each)])
    found = solve(Statistics({"job": JobSum(MERGES, total, ((0, MERGES, "0" * 64),))}))
    P = found.matrices["input:12"]
    assert P.dtype == np.float32
    wide = P.astype(np.float64)
    assert np.abs(wide @ wide.T - np.eye(12)).max() <= 1e-6
