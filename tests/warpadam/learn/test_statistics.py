import pickle
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.warpadam.learn.making import contribution, covariance
from warpadam import tensorfile
from warpadam.learn import check_contribution, solve
from warpadam.learn.statistics import (
    SCALE,
    Contribution,
    ContributionError,
    JobSum,
    Statistics,
    add,
    digest_of,
    pack,
    unpack,
)

SIZES = {"input:3": 3, "input:6": 6}
LEDGER = [
    contribution(job, start, start + 5 + start % 3, seed=seed, attempt=1 + seed % 2)
    for seed, (job, start) in enumerate((job, 10 * part) for job in ("job_c", "job_a", "job_b") for part in range(4))
]


def together(contributions: Sequence[Contribution]) -> Statistics:
    statistics = Statistics()
    for each in contributions:
        statistics = statistics.add(each)
    return statistics


def refused(code: str, made: Contribution, **options: object) -> None:
    with pytest.raises(ContributionError) as error:
        check_contribution(made, SIZES, **options)  # type: ignore[arg-type]
    assert error.value.code == code


# What is packed comes back, within half a unit in the last place.


@pytest.mark.parametrize("size", [1, 2, 7])
def test_packing_rounds_once(size: int) -> None:
    matrix = covariance(size)
    packed = pack(matrix)
    assert packed.dtype == np.int64
    assert packed.shape == (size * (size + 1) // 2,)
    assert np.abs(unpack(packed) - matrix).max() <= 0.5 / SCALE
    assert np.array_equal(pack(unpack(packed)), packed)


@pytest.mark.parametrize(
    ("matrix", "code"),
    [
        (np.full((2, 2), np.nan), "not_finite"),
        (np.full((2, 2), np.inf), "not_finite"),
        (np.full((2, 2), 1e30), "overflow"),
        (np.zeros((2, 3)), "bad_shape"),
        (np.zeros(3), "bad_shape"),
    ],
)
def test_what_cannot_be_packed_is_refused(matrix: NDArray[np.float64], code: str) -> None:
    with pytest.raises(ContributionError) as error:
        pack(matrix)
    assert error.value.code == code


def test_addition_is_checked() -> None:
    large = np.array([2**62, -(2**62), 1], dtype=np.int64)
    assert np.array_equal(add(large, np.array([2**62 - 1, -(2**62), -1])), [2**63 - 1, -(2**63), 0])
    for other in ([2**62, 0, 0], [0, -(2**62) - 1, 0]):
        with pytest.raises(ContributionError, match="leaves 64-bit integers"):
            add(large, np.array(other))
    with pytest.raises(ContributionError, match="cannot be added"):
        add(large, large[:1])


# A contribution travels as a file, and is checked when it arrives.


@pytest.mark.parametrize("base_version", [None, 0, 7])
def test_a_contribution_comes_back_as_it_went_out(base_version: int | None) -> None:
    sent = contribution(base_version=base_version, skipped=2, sequence=4)
    got = Contribution.decode(sent.encode())
    assert {**vars(got), "sums": None} == {**vars(replace(sent)), "sums": None}
    assert all(np.array_equal(got.sums[key], sent.sums[key]) for key in SIZES)
    assert got.digest == sent.digest == tensorfile.sha256(sent.encode())
    assert pickle.loads(pickle.dumps(got)).encode() == sent.encode()


def test_each_thing_that_a_contribution_says_is_in_its_digest() -> None:
    made = contribution()
    other_sums = {**made.sums, "input:3": made.sums["input:3"] + 1}
    changes: list[dict[str, object]] = [
        {"job": "job_b"},
        {"attempt": 2},
        {"sequence": 1},
        {"start": 1},
        {"end": 11},
        {"base_version": None},
        {"skipped": 1},
        {"rule": "other"},
        {"sums": other_sums},
    ]
    changed = [replace(made, **change) for change in changes]  # type: ignore[arg-type]
    assert len({made.digest, *(other.digest for other in changed)}) == 10


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "malformed"),
        (b"{}" * 40, "malformed"),
        (tensorfile.write({}, {"format": "warpadam.warp/1"}), "malformed"),
        (tensorfile.write({}, {"format": "warpadam.contribution/1"}), "malformed"),
        (
            tensorfile.write({"input:2": np.zeros(3)}, {"format": "warpadam.contribution/1"}),
            "bad_shape",
        ),
        (tensorfile.write({"input:2": np.zeros(4, np.int64)}, {"format": "warpadam.contribution/1"}), "bad_shape"),
        (tensorfile.write({"input:2": np.zeros(6, np.int64)}, {"format": "warpadam.contribution/1"}), "bad_shape"),
        (tensorfile.write({"input": np.zeros(3, np.int64)}, {"format": "warpadam.contribution/1"}), "unknown_key"),
        (contribution().encode().replace(b'"sequence":"0"', b'"sequence":"-"'), "malformed"),
    ],
)
def test_bytes_that_are_no_contribution_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(ContributionError) as error:
        Contribution.decode(data)
    assert error.value.code == code


@settings(deadline=None, max_examples=200)
@given(where=st.integers(0, len(LEDGER[0].encode()) - 1), value=st.integers(0, 255))
def test_damage_is_refused_or_seen(where: int, value: int) -> None:
    sent = LEDGER[0].encode()
    data = bytearray(sent)
    data[where] = value
    try:
        got = Contribution.decode(bytes(data))
    except ContributionError:
        return
    assert Contribution.decode(got.encode()).digest == got.digest
    in_the_numbers = where >= 8 + int.from_bytes(sent[:8], "little")
    assert (got.digest == LEDGER[0].digest) == (data == sent) or not in_the_numbers


def test_what_a_worker_sees_is_accepted() -> None:
    for made in LEDGER:
        check_contribution(made, SIZES, sharing=dict.fromkeys(SIZES, 1))
    check_contribution(contribution(matrices={}), SIZES)
    check_contribution(contribution(matrices={"input:3": np.zeros((3, 3))}, skipped=10), SIZES)


def test_unknown_keys_and_sizes_are_refused() -> None:
    refused("unknown_key", contribution(matrices={"input:4": covariance(4)}))
    refused("bad_shape", contribution(matrices={"input:3": covariance(6)}))
    refused("too_large", contribution(), max_bytes=200)


@pytest.mark.parametrize(
    "change", [{"start": 10}, {"start": -1}, {"start": 12}, {"sequence": -1}, {"skipped": -1}, {"attempt": -1}]
)
def test_intervals_that_hold_no_step_are_refused(change: dict[str, int]) -> None:
    refused("bad_interval", replace(contribution(), **change))  # type: ignore[arg-type]


def test_what_no_gradient_gives_is_refused() -> None:
    indefinite = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    refused("not_psd", contribution(matrices={"input:3": indefinite}))
    refused("bad_trace", contribution(matrices={"input:3": -np.eye(3)}))
    refused("bad_trace", contribution(matrices={"input:3": covariance(3, steps=11)}), sharing={"input:3": 1})
    check_contribution(contribution(matrices={"input:3": covariance(3, steps=11)}), SIZES, sharing={"input:3": 2})


def test_the_error_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ContributionError("overlap", "again")))
    assert (error.code, str(error)) == ("overlap", "again")


# Any order and any grouping give the same statistics, digest and P, bit for bit.


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_order_grouping_and_folding_change_nothing(data: st.DataObject) -> None:
    expected = together(LEDGER)
    parts = [Statistics().add(each) for each in data.draw(st.permutations(LEDGER))]
    while len(parts) > 1:
        left = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        right = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        merged = left.merge(right)
        if data.draw(st.booleans()):
            merged = Statistics({job: JobSum.decode(total.encode()) for job, total in merged.jobs.items()})
        parts.append(merged)
    assert parts[0].digest() == expected.digest()
    assert parts[0].steps == expected.steps == sum(each.steps for each in LEDGER)
    assert {job: total.encode() for job, total in parts[0].jobs.items()} == {
        job: total.encode() for job, total in expected.jobs.items()
    }
    ours, theirs = solve(parts[0]), solve(expected)
    assert ours.matrices.keys() == theirs.matrices.keys() == SIZES.keys()
    assert all(ours.matrices[key].tobytes() == theirs.matrices[key].tobytes() for key in SIZES)


def test_the_digest_can_be_computed_from_a_ledger_alone() -> None:
    rows = [(each.job, each.start, each.end, each.digest) for each in LEDGER]
    assert digest_of(reversed(rows)) == together(LEDGER).digest()
    assert digest_of(rows[1:]) != digest_of(rows)
    assert Statistics().digest() == digest_of([])


def test_sums_are_exact_integers() -> None:
    total = together(LEDGER).jobs["job_a"].sums["input:6"]
    expected = sum(each.sums["input:6"].astype(object) for each in LEDGER if each.job == "job_a")
    assert (total.astype(object) == expected).all()


@pytest.mark.parametrize(("start", "end"), [(0, 10), (5, 6), (9, 20), (0, 100)])
def test_no_step_counts_twice(start: int, end: int) -> None:
    statistics = Statistics().add(contribution(start=0, end=10))
    with pytest.raises(ContributionError, match="would be counted twice") as error:
        statistics.add(contribution(start=start, end=end))
    assert error.value.code == "overlap"
    assert statistics.add(contribution(job="job_b", start=start, end=end)).steps == 10 + end - start
    assert statistics.add(contribution(start=10, end=12)).steps == 12


def test_statistics_do_not_change_under_their_owner() -> None:
    made = contribution()
    statistics = Statistics().add(made)
    digest = statistics.digest()
    statistics.add(contribution(job="job_b"))
    assert statistics.digest() == digest
    with pytest.raises(ValueError, match="read-only"):
        statistics.jobs["job_a"].sums["input:3"][0] = 1


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"steps": "11"}, "bad_interval"),
        ({"digests": "[[0,10]]"}, "malformed"),
        ({"digests": '[[0,"a","b"]]'}, "malformed"),
        ({"digests": "nothing"}, "malformed"),
        ({"digests": '[[0,5,"a"],[4,9,"b"]]', "steps": "10"}, "overlap"),
        ({"digests": '[[5,5,"a"]]', "steps": "0"}, "bad_interval"),
    ],
)
def test_a_damaged_job_sum_is_refused(change: dict[str, str], code: str) -> None:
    text = {"format": "warpadam.job-sum/1", "steps": "10", "digests": '[[0,10,"a"]]'}
    assert JobSum.decode(tensorfile.write({}, text)).steps == 10
    with pytest.raises(ContributionError) as error:
        JobSum.decode(tensorfile.write({}, {**text, **change}))
    assert error.value.code == code
