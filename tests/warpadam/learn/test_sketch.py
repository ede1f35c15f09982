"""Sketches of long axes: fixed signs, exact merging, and the directions that come out."""

import hashlib

import numpy as np
import pytest
import torch

from tests.warpadam.matrices import rotation
from warpadam.learn import ContributionError
from warpadam.learn.observe import CovarianceObserver, SketchObserver
from warpadam.learn.packed import SCALE, add, unpack
from warpadam.learn.sketch import omega, pack, solve, width

SIZE, RANK = 200, 6
KEY = f"tokens.in:{SIZE}"
COLUMNS = width(RANK)
Q = rotation(SIZE, 1).astype(np.float64)
VALUES = 1 / np.arange(1.0, SIZE + 1) ** 2


def sketch(scale: float = 1.0) -> np.ndarray:
    return pack(scale * (Q * VALUES) @ Q.T @ omega(KEY, SIZE, COLUMNS))


def test_omega_is_fixed_for_ever_by_the_key() -> None:
    signs = omega("input:64", 64, 20)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    assert abs(signs.mean()) < 0.1
    assert (signs != omega("output:64", 64, 20)).mean() == pytest.approx(0.5, abs=0.1)
    written = hashlib.sha256(signs.astype(np.int8).tobytes()).hexdigest()
    assert written == "622b28333bc2c34f024dec8e852b2d52ee399e8fd832a7944edb1a572f6bc508"
    with pytest.raises(ValueError, match="observe C itself"):
        omega("input:64", 64, 65)


def test_the_strongest_directions_come_out() -> None:
    found = solve(KEY, sketch(100.0), RANK)
    assert found.V.shape == (SIZE, RANK)
    assert np.abs(found.V.T @ found.V - np.eye(RANK)).max() < 1e-12
    assert np.allclose(found.eigenvalues[:4], 100 * VALUES[:4], rtol=0.06)
    inside = np.linalg.norm(found.V.T @ Q[:, :RANK], axis=0)
    assert inside.min() > 0.97
    assert (found.V[np.abs(found.V).argmax(axis=0), np.arange(RANK)] > 0).all()
    assert solve(KEY, sketch(100.0), RANK).V.tobytes() == found.V.tobytes()


def test_a_matrix_of_low_rank_gives_no_more_directions_than_it_has() -> None:
    C = Q[:, :2] * [3.0, 1.0] @ Q[:, :2].T
    found = solve(KEY, pack(C @ omega(KEY, SIZE, COLUMNS)), RANK)
    assert found.V.shape == (SIZE, 2)
    assert np.allclose(np.abs(found.V.T @ Q[:, :2]), np.eye(2), atol=1e-3)
    assert solve(KEY, np.zeros((SIZE, COLUMNS), np.int64), RANK).V.shape == (SIZE, 0)


def test_sketches_of_jobs_add_up_exactly_in_any_order() -> None:
    parts = [sketch(scale) for scale in (1.0, 2.5, 7.0)]
    forwards, backwards = add(add(parts[0], parts[1]), parts[2]), add(parts[2], add(parts[1], parts[0]))
    assert forwards.tobytes() == backwards.tobytes()
    with pytest.raises(ContributionError, match="64-bit"):
        add(parts[0] + 2**62, parts[0] + 2**62)


@pytest.mark.parametrize("bad", [np.full((3, 2), np.nan), np.zeros(3), np.full((3, 2), 2.0**40)])
def test_what_cannot_be_packed(bad: np.ndarray) -> None:
    with pytest.raises(ContributionError):
        pack(bad)


def test_more_directions_than_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 20 directions, not 21"):
        solve(KEY, sketch(), 21)


def test_the_observer_sees_the_sketch_of_what_the_covariances_observer_sees() -> None:
    key, axes = "input:50", {"w": (None, "input:50")}
    plain, sketched = CovarianceObserver(axes), SketchObserver(axes, columns=12)
    assert not sketched.take()[0][key].any()
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        named = [("w", torch.randn(7, 50, generator=draw)), ("v", torch.randn(3, generator=draw))]
        plain.observe(named, 0.5)
        sketched.observe(named, 0.5)
    (sums, skipped), expected = sketched.take(), unpack(plain.take()[0][key]) @ omega(key, 50, 12)
    assert skipped == 0
    assert np.allclose(sums[key] / SCALE, expected, atol=1e-5)
