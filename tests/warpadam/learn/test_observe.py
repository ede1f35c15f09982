import numpy as np
import pytest
import torch
from torch import Tensor

from tests.warpadam.matrices import gradients
from warpadam import shapes
from warpadam.learn import RULES, Contribution, Statistics, check_contribution
from warpadam.learn.observe import CovarianceObserver
from warpadam.learn.statistics import unpack

ANCHOR = "0123456789ab"
CONVNET = {"arch": "convnet", "channels": [4, 6], "kernel": 3, "input": [8, 8, 3], "output": 5}
KEYS = shapes.axis_keys(CONVNET, ANCHOR)


def steps(model: dict[str, object], count: int, dtype: torch.dtype = torch.float32) -> list[list[tuple[str, Tensor]]]:
    rows = {p.name: gradients(p.shape, count, seed, dtype) for seed, p in enumerate(shapes.parameters(model))}
    return [[(name, row[step]) for name, row in rows.items()] for step in range(count)]


def expected(key: str, keys: shapes.AxisKeys, seen: list[list[tuple[str, Tensor]]]) -> np.ndarray:
    total = np.zeros((shapes.key_size(key), shapes.key_size(key)))
    for named in seen:
        for name, gradient in named:
            row = keys.get(name, ())
            for axis in (axis for axis, other in enumerate(row) if other == key):
                G = gradient.double().numpy().reshape(shapes.merged_shape(gradient.shape, len(row)))
                unfolded = np.moveaxis(G, axis, 0).reshape(G.shape[axis], -1)
                total += unfolded @ unfolded.T / np.square(G).sum()
    return total


def test_each_key_gets_the_sum_of_its_unfoldings() -> None:
    observer = CovarianceObserver(KEYS)
    seen = steps(CONVNET, 7)
    for named in seen:
        observer.observe(named)
    sums, skipped = observer.take()
    assert skipped == 0
    assert sums.keys() == shapes.sizes_by_key(KEYS).keys()
    for key, packed in sums.items():
        assert np.allclose(unpack(packed), expected(key, KEYS, seen), atol=1e-5)
    contribution = Contribution("covariance", "job_a", 1, 0, 0, 7, None, sums, skipped)
    check_contribution(contribution, shapes.sizes_by_key(KEYS), sharing=shapes.sharing_by_key(KEYS))


def test_the_trace_counts_the_axes_that_share_a_key() -> None:
    observer = CovarianceObserver(KEYS)
    for named in steps(CONVNET, 4):
        observer.observe(named)
    sums, _ = observer.take()
    assert np.trace(unpack(sums["taps:9"])) == pytest.approx(8)
    assert np.trace(unpack(sums["channels:3"])) == pytest.approx(4)


def test_take_begins_anew() -> None:
    observer = CovarianceObserver(KEYS)
    observer.observe(steps(CONVNET, 1)[0])
    observer.take()
    sums, skipped = observer.take()
    assert skipped == 0
    assert all(not packed.any() for packed in sums.values())


@pytest.mark.parametrize("world_size", [2, 3, 20])
def test_ranks_split_the_keys_and_count_each_share_once(world_size: int) -> None:
    whole = CovarianceObserver(KEYS)
    ranks = [CovarianceObserver(KEYS, rank=rank, world_size=world_size) for rank in range(world_size)]
    for named in steps(CONVNET, 3):
        named[0] = (named[0][0], torch.zeros_like(named[0][1]))
        for observer in (whole, *ranks):
            observer.observe(named)
    expected_sums, expected_skipped = whole.take()
    taken = [observer.take() for observer in ranks]
    assert sum(len(sums) for sums, _ in taken) == len(expected_sums)
    together = {key: packed for sums, _ in taken for key, packed in sums.items()}
    assert all(np.array_equal(together[key], expected_sums[key]) for key in expected_sums)
    assert sum(skipped for _, skipped in taken) == expected_skipped == 3
    if world_size == 2:
        assert all(sums for sums, _ in taken)


@pytest.mark.parametrize("poison", [0.0, float("nan"), float("inf")])
def test_a_gradient_that_is_zero_or_not_finite_adds_nothing_and_is_counted(poison: float) -> None:
    good, bad = CovarianceObserver({"w": ("a:3", "b:4")}), CovarianceObserver({"w": ("a:3", "b:4")})
    G = torch.randn(3, 4)
    spoilt = torch.zeros(3, 4)
    spoilt[1, 2] = poison
    for observer in (good, bad):
        observer.observe([("w", G)])
    bad.observe([("w", spoilt)])
    (expected_sums, none), (sums, one) = good.take(), bad.take()
    assert (none, one) == (0, 1)
    assert all(np.array_equal(sums[key], expected_sums[key]) for key in sums)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e30])
def test_the_size_of_a_gradient_does_not_matter(scale: float) -> None:
    G = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    taken = []
    for gradient in (G, G * scale):
        observer = CovarianceObserver({"w": ("a:3", None)})
        observer.observe([("w", gradient)])
        taken.append(unpack(observer.take()[0]["a:3"]))
    assert np.allclose(taken[0], taken[1], atol=1e-6)


def test_bfloat16_gradients_are_seen_as_they_are() -> None:
    observer = CovarianceObserver(KEYS)
    seen = steps(CONVNET, 2, torch.bfloat16)
    for named in seen:
        observer.observe(named)
    sums, _ = observer.take()
    assert np.allclose(unpack(sums["taps:9"]), expected("taps:9", KEYS, seen), atol=1e-5)


def test_every_other_step() -> None:
    seen = steps(CONVNET, 5)
    observer = CovarianceObserver(KEYS, every=2)
    for named in seen:
        observer.observe(named)
    assert np.allclose(unpack(observer.take()[0]["taps:9"]), expected("taps:9", KEYS, seen[::2]), atol=1e-5)


@pytest.mark.parametrize("options", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"every": 0}])
def test_ranks_and_periods_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        CovarianceObserver(KEYS, **options)


def test_the_rule_makes_its_observer() -> None:
    observer = RULES["covariance"].observe(KEYS, rank=0, world_size=1)
    observer.observe(steps(CONVNET, 1)[0])
    assert observer.take()[0].keys() == shapes.sizes_by_key(KEYS).keys()


def contributed(job: str, hidden: int, anchor: str | None) -> Contribution:
    model: dict[str, object] = {"arch": "mlp", "hidden": [hidden], "activation": "relu", "input": 7, "output": 3}
    keys = shapes.axis_keys(model, anchor)
    observer = CovarianceObserver(keys)
    for named in steps(model, 5):
        observer.observe(named)
    return Contribution("covariance", job, 1, 0, 0, 5, None, *observer.take())


def test_models_of_other_widths_share_their_outer_axes() -> None:
    statistics = Statistics().add(contributed("job_a", 4, None)).add(contributed("job_b", 9, None))
    solution = RULES["covariance"].solve(statistics)
    assert {key: P.shape for key, P in solution.matrices.items()} == {"input:7": (7, 7), "output:3": (3, 3)}
    for job in statistics.jobs:
        alone = RULES["covariance"].solve(Statistics({job: statistics.jobs[job]}))
        assert not np.allclose(alone.matrices["input:7"], solution.matrices["input:7"], atol=1e-3)


def test_hidden_axes_meet_only_under_one_anchor() -> None:
    one, other = "0" * 12, "1" * 12
    apart = Statistics().add(contributed("job_a", 4, one)).add(contributed("job_b", 4, other))
    together = Statistics().add(contributed("job_a", 4, one)).add(contributed("job_b", 4, one))
    hidden = {key for key in RULES["covariance"].solve(apart).matrices if key.startswith("param:")}
    assert hidden == {f"param:layers.{i}.weight:{axis}:4@{a}" for i, axis in ((0, 0), (1, 1)) for a in (one, other)}
    assert len(RULES["covariance"].solve(together).matrices) == 4
