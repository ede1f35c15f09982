"""The hypergradient rule: its gradient, what its two objectives prefer, exactness, and what its observer sees."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.warpadam.learn.making import contribution
from tests.warpadam.matrices import rotation
from warpadam import warpfile
from warpadam.learn import RULES, Contribution, ContributionError, Statistics, check_contribution, covariance
from warpadam.learn.hypergradient import Options, climb, gradient, solve, value
from warpadam.learn.observe import CovarianceObserver, PairObserver
from warpadam.learn.orthogonal import cayley, skew
from warpadam.learn.packed import next_name, pack, unpack

Matrix = NDArray[np.float64]
SIZE, STEPS = 8, 40
KEY = f"input:{SIZE}"


def pairs(seed: int, steps: int = STEPS) -> tuple[Matrix, Matrix]:
    """C and S summed over unit gradients that repeat in their strong directions and are noise in the weak ones."""
    rng = np.random.default_rng(seed)
    Q = rotation(SIZE, 3).astype(np.float64)
    scales, repeats = np.geomspace(1, 0.05, SIZE), np.linspace(0.9, -0.1, SIZE)
    g = rng.standard_normal((steps, SIZE)) * scales
    h = repeats * g + 0.3 * rng.standard_normal((steps, SIZE)) * scales
    g, h = (x @ Q.T / np.linalg.norm(x, axis=1, keepdims=True) for x in (g, h))
    return g.T @ g, (h.T @ g + g.T @ h) / 2


def sent(job: str = "job_a", start: int = 0, seed: int = 0) -> Contribution:
    C, S = pairs(seed)
    made = contribution(job, start, start + STEPS, {KEY: C})
    return replace(made, rule="hypergradient", sums={**made.sums, next_name(KEY): pack(S)})


def statistics(*contributions: Contribution) -> Statistics:
    found = Statistics()
    for one in contributions:
        found = RULES["hypergradient"].merge(found, one)
    return found


@pytest.mark.parametrize("objective", ["tuned", "greedy"])
def test_the_gradient_is_the_slope_along_the_group(objective: str) -> None:
    C, S = pairs(0)
    P, A = rotation(SIZE, 1).astype(np.float64), skew(np.random.default_rng(2).standard_normal((SIZE, SIZE)))
    slope = (value(cayley(1e-5 * A) @ P, C, S, objective) - value(cayley(-1e-5 * A) @ P, C, S, objective)) / 2e-5
    assert slope == pytest.approx(float((gradient(P, C, S, objective) * A).sum()), rel=1e-5)


def test_to_first_order_the_eigenbasis_is_the_worst_of_all_bases_and_at_the_best_step_size_a_good_one() -> None:
    """Why greedy hypergradients make P worse than Adam."""
    C, _ = pairs(0, steps=400)
    P = covariance.basis(C)[0].astype(np.float64)
    others = [rotation(SIZE, seed).astype(np.float64) for seed in range(20)]
    assert all(value(P, C, C, "greedy") < value(Q, C, C, "greedy") for Q in others)
    assert all(value(P, C, C) > value(Q, C, C) for Q in others)
    assert np.abs(gradient(P, C, C)).max() < 1e-5 * value(P, C, C)


@pytest.mark.parametrize("objective", ["tuned", "greedy"])
@pytest.mark.parametrize("start", ["covariance", "identity"])
def test_it_climbs_and_stays_a_rotation(objective: str, start: str) -> None:
    C, S = pairs(0)
    begin = covariance.basis(C)[0] if start == "covariance" else np.eye(SIZE)
    P, d = climb(C, S, objective, start)
    assert value(P.astype(np.float64), C, S, objective) > value(begin.astype(np.float64), C, S, objective)
    assert warpfile.check({KEY: P}).orthogonal
    assert np.allclose(np.diag(P @ C @ P.T), d, rtol=1e-4)
    assert (np.diff(d) <= 0).all()


def test_any_order_gives_the_same_digest_and_the_same_bytes() -> None:
    everything = [sent("job_a"), sent("job_a", STEPS, 1), sent("job_b", 0, 2)]
    found = {
        (made.digest(), solve(made).matrices[KEY].tobytes())
        for made in (statistics(*order) for order in itertools.permutations(everything))
    }
    assert len(found) == 1


def test_a_stored_p_is_verified_by_its_objective() -> None:
    rule, made = RULES["hypergradient"], statistics(sent())
    P = rule.solve(made).matrices[KEY]
    assert rule.verify({KEY: P}, made) == []
    assert rule.verify({KEY: P[::-1].copy()}, made) == []  # the order of rows does nothing to Adam
    assert "objective" in rule.verify({KEY: rotation(SIZE, 5)}, made)[0]
    assert rule.verify({KEY: 2 * P}, made) == [f"{KEY}: it is not orthogonal"]
    assert rule.verify({}, made) == [f"{KEY}: missing"]
    assert "size 3" in rule.verify({KEY: np.eye(3, dtype=np.float32)}, made)[0]


def test_without_pairs_it_is_the_covariances_p() -> None:
    made = sent()
    lonely = replace(made, sums={**made.sums, next_name(KEY): np.zeros_like(made.sums[KEY])})
    expected = covariance.solve(statistics(lonely)).matrices[KEY]
    assert solve(statistics(lonely)).matrices[KEY].tobytes() == expected.tobytes()
    assert solve(statistics(made), Options(start="identity")).solved_with["solver"].endswith("tuned from identity")


def test_contributions_hold_both_sums_and_nothing_impossible() -> None:
    made = sent()
    check_contribution(made, {KEY: SIZE}, sharing={KEY: 1})
    name = next_name(KEY)
    for sums, rule, code in [
        ({KEY: made.sums[KEY]}, "hypergradient", "unknown_key"),
        ({name: made.sums[name]}, "hypergradient", "unknown_key"),
        (made.sums, "covariance", "unknown_key"),
        ({**made.sums, name: made.sums[name] * 9}, "hypergradient", "bad_trace"),
        ({**made.sums, name: made.sums[name][:6]}, "hypergradient", "bad_shape"),
    ]:
        with pytest.raises(ContributionError) as caught:
            check_contribution(replace(made, sums=sums, rule=rule), {KEY: SIZE}, sharing={KEY: 1})
        assert caught.value.code == code
    assert Contribution.decode(made.encode()).digest == made.digest


AXES = {"w": ("output:3", "input:5"), "b": (None, "input:5")}


def gradients(count: int) -> list[list[tuple[str, torch.Tensor]]]:
    draw = torch.Generator().manual_seed(0)
    return [[("w", torch.randn(3, 5, generator=draw)), ("b", torch.randn(2, 5, generator=draw))] for _ in range(count)]


def test_the_observer_sees_each_gradient_with_the_next_one_also_across_contributions() -> None:
    seen, plain, both = gradients(5), CovarianceObserver(AXES), PairObserver(AXES)
    first = {}
    for step, named in enumerate(seen):
        plain.observe(named)
        both.observe(named)
        if step == 1:
            first, _ = both.take()
    last, skipped = both.take()
    total = {name: unpack(first[name]) + unpack(last[name]) for name in first}
    expected, _ = plain.take()
    assert skipped == 0
    for key, axis in (("output:3", 0), ("input:5", 1)):
        assert np.allclose(total[key], unpack(expected[key]), atol=1e-7)
        S = np.zeros((len(total[key]),) * 2)
        for before, after in itertools.pairwise(seen):
            for (name, g), (_, h) in zip(before, after, strict=True):
                if name == "w" or key == "input:5":
                    g, h = (x.double().numpy() / x.double().norm().item() for x in (g, h))  # noqa: PLW2901
                    product = np.moveaxis(h, axis, 0) @ np.moveaxis(g, axis, 0).T
                    S += (product + product.T) / 2
        assert np.allclose(total[next_name(key)], S, atol=1e-6)


def test_ranks_share_the_axes_weights_count_and_pairs_are_neighbours_whatever_the_interval() -> None:
    alone, ranks = PairObserver(AXES), [PairObserver(AXES, rank=rank, world_size=2) for rank in range(2)]
    half, thinned = PairObserver(AXES), PairObserver(AXES, every=2)
    for named in gradients(4):
        for observer in (alone, *ranks, thinned):
            observer.observe(named)
        half.observe(named, 0.5)
    whole, _ = alone.take()
    shares = [rank.take()[0] for rank in ranks]
    assert not shares[0].keys() & shares[1].keys()
    assert all(np.array_equal((shares[0] | shares[1])[name], packed) for name, packed in whole.items())
    weighted, rare = half.take()[0], thinned.take()[0]
    for name, packed in whole.items():
        assert np.abs(2 * weighted[name] - packed).max() <= 2
    assert unpack(rare["output:3"]).trace() == pytest.approx(2)  # steps 1 and 3, with the pairs 1-2 and 3-4
    expected = PairObserver(AXES)
    for named in gradients(2):
        expected.observe(named)
    first = PairObserver(AXES, every=2)
    for named in gradients(2):
        first.observe(named)
    assert np.array_equal(first.take()[0][next_name("output:3")], expected.take()[0][next_name("output:3")])
