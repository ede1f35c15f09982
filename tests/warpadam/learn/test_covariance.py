import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.warpadam.learn.making import contribution, covariance
from tests.warpadam.matrices import rotation
from warpadam import warpfile
from warpadam.learn import RULES, ContributionError, Statistics, solve, verify
from warpadam.learn.covariance import basis, capped_weights, clusters, covariances

ROOT = Path(__file__).parents[3]
Matrix = NDArray[np.float64]


def statistics(*matrices: Matrix, steps: int = 10) -> Statistics:
    """One job per matrix."""
    found = Statistics()
    for index, matrix in enumerate(matrices):
        key = f"input:{len(matrix)}"
        found = found.add(contribution(f"job_{index}", 0, steps, {key: matrix}))
    return found


def with_values(values: list[float], seed: int = 0) -> Matrix:
    Q = rotation(len(values), seed).astype(np.float64)
    return Q @ np.diag(values) @ Q.T


def test_p_diagonalises_c_largest_first() -> None:
    made = statistics(covariance(20, 1), covariance(20, 2))
    solution = solve(made)
    P, C = solution.matrices["input:20"].astype(np.float64), covariances(made)["input:20"]
    turned = P @ C @ P.T
    assert np.abs(turned - np.diag(np.diag(turned))).max() < 1e-6 * np.linalg.norm(C)
    assert np.allclose(np.diag(turned), solution.eigenvalues["input:20"], atol=1e-6)
    assert (np.diff(solution.eigenvalues["input:20"]) <= 0).all()
    assert solution.matrices["input:20"].dtype == np.float32
    warpfile.check(solution.matrices)
    assert warpfile.check(solution.matrices).orthogonal
    assert verify(solution.matrices, made) == []
    assert solution.solved_with["threads"] == "1"
    assert solution.solved_with["numpy"] == np.__version__


def test_c_is_the_weighted_mean_of_the_jobs_with_long_ones_capped() -> None:
    a, b = covariance(4, 1, 10), covariance(4, 2, 1000)
    made = Statistics().add(contribution("job_a", 0, 10, {"input:4": a}))
    made = made.add(contribution("job_b", 0, 1000, {"input:4": b}))
    assert np.allclose(covariances(made, n0=300)["input:4"], 10 * a / 10 + 300 * b / 1000, atol=1e-7)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([300], [300]),
        ([300, 1, 1, 1], [300, 1, 1, 1]),
        ([300, 1, 1, 1, 1], [4 / 3, 1, 1, 1, 1]),
        ([10, 300, 10, 200, 10], [10, 15, 10, 15, 10]),
        ([7] * 9, [7] * 9),
    ],
)
def test_no_job_holds_more_than_its_share(weights: list[int], expected: list[float]) -> None:
    capped = capped_weights(weights, 0.25)
    assert capped == pytest.approx(expected)
    if len(weights) > 4:
        assert max(capped) <= 0.25 * sum(capped) * (1 + 1e-12)


def test_signs_are_fixed_by_the_largest_entry() -> None:
    P = solve(statistics(covariance(12))).matrices["input:12"]
    assert (P[np.arange(12), np.abs(P).argmax(axis=1)] > 0).all()


def test_nearly_equal_eigenvalues_get_a_basis_that_does_not_move() -> None:
    """Two matrices that differ far below what the rounding keeps apart, but whose eigenvectors differ at random."""
    base = with_values([3, 1 + 2e-7, 1 + 1e-7, 1, 0.1])
    noise = np.random.default_rng(5).standard_normal((2, 5, 5)) * 1e-7
    solved = [solve(statistics(base + N + N.T)).matrices["input:5"] for N in noise]
    assert np.abs(solved[0] - solved[1]).max() < 1e-5
    assert verify({"input:5": solved[0]}, statistics(base + noise[0] + noise[0].T)) == []


def test_ties_between_unit_vectors_and_between_entries_go_to_the_first() -> None:
    """The plane of e0 + e1 and e2 - e3: every unit vector is half inside, and both entries of each row are as large."""
    span = np.array([[1.0, 1, 0, 0], [0, 0, 1, -1]]) / np.sqrt(2)
    for seed in range(8):
        noise = np.random.default_rng(seed).standard_normal((4, 4)) * 1e-8
        P = solve(statistics(span.T @ span + noise + noise.T)).matrices["input:4"]
        assert np.abs(P[:2] - span).max() < 1e-5


def test_directions_without_evidence_get_unit_vectors() -> None:
    C = np.zeros((5, 5))
    C[1, 1], C[3, 3] = 4.0, 2.0
    P = solve(statistics(C)).matrices["input:5"]
    assert np.array_equal(P, np.eye(5, dtype=np.float32)[[1, 3, 0, 2, 4]])


def test_without_any_evidence_p_is_the_identity() -> None:
    made = statistics(np.zeros((4, 4)))
    assert np.array_equal(solve(made).matrices["input:4"], np.eye(4, dtype=np.float32))
    assert verify(solve(made).matrices, made) == []
    assert solve(Statistics()).matrices == {}


def test_a_basis_of_any_covariance_is_made_alike() -> None:
    C = covariances(statistics(covariance(6)))["input:6"]
    P, values = basis(C)
    solution = solve(statistics(covariance(6)))
    assert P.tobytes() == solution.matrices["input:6"].tobytes()
    assert np.array_equal(values, solution.eigenvalues["input:6"])


def test_clusters_are_chains_of_small_gaps_and_what_has_no_evidence() -> None:
    values = np.array([5.0, 2.0, 1.999, 1.998, 1.0, 1e-10, 1e-12, 0.0])
    assert clusters(values) == [(0, 1), (1, 4), (4, 5), (5, 8)]


def test_verify_says_what_is_wrong() -> None:
    made = statistics(covariance(6), covariance(5))
    matrices = dict(solve(made).matrices)
    assert verify({"input:6": matrices["input:6"]}, made) == ["input:5: missing"]
    assert verify({**matrices, "input:7": matrices["input:6"]}, made) == ["input:7: unknown"]
    for wrong in (rotation(6), matrices["input:6"][::-1].copy(), matrices["input:6"] * np.float32(1.01)):
        (line,) = verify({**matrices, "input:6": wrong}, made)
        assert line.startswith("input:6: ‖P C Pᵀ − diag‖ is ")


def test_a_p_holds_for_every_size_of_cluster_and_verifies() -> None:
    for seed in range(10):
        values = np.random.default_rng(seed).choice([5.0, 5.002, 1.0, 1.0005, 1e-4, 0.0], 16)
        made = statistics(with_values(list(values), seed))
        P = solve(made).matrices["input:16"]
        assert np.abs(P.astype(np.float64) @ P.T - np.eye(16)).max() < 1e-6
        assert verify({"input:16": P}, made) == []


@pytest.mark.parametrize("threads", ["1", "4"])
def test_another_process_with_other_threads_gives_the_same_bytes(threads: str) -> None:
    program = (
        "from tests.warpadam.learn.test_covariance import *\n"
        "P = solve(statistics(covariance(150, 1), covariance(150, 2))).matrices\n"
        "print(warpfile.sha256(P['input:150'].tobytes()), end='')"
    )
    variables = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    other = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=variables, check=True, capture_output=True, text=True
    )
    P = solve(statistics(covariance(150, 1), covariance(150, 2))).matrices["input:150"]
    assert other.stdout == warpfile.sha256(P.tobytes())


def test_the_rule_merges_and_solves() -> None:
    rule = RULES["covariance"]
    assert rule.name == "covariance"
    made = rule.merge(Statistics(), contribution("job_0", 0, 10, {"input:4": covariance(4)}))
    assert rule.solve(made).matrices["input:4"].tobytes() == solve(made).matrices["input:4"].tobytes()


def test_the_rule_refuses_what_another_rule_observed() -> None:
    with pytest.raises(ContributionError) as error:
        RULES["covariance"].merge(Statistics(), replace(contribution(), rule="hypergradient"))
    assert error.value.code == "wrong_rule"
