"""The pure core: what a contribution must be, and what follows from those that are."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy

from service.agreed import RefusedError
from service.learning import JobFacts
from tests.families import KEYS, MODEL, STEPS, Running, contribution, sums
from warpadam import tensorfile, warpfile
from warpadam.learn import covariance
from warpadam.learn.statistics import Contribution, Statistics
from workers.meta.core import LearnerCore, rebuild, solve

JOB = Running("job_a")
FACTS = JobFacts(job_id=JOB.id, attempt=1, rule="covariance", steps=STEPS, model=MODEL, anchor=None)
MAX_BYTES = 16 * 2**20


def core(statistics: Statistics | None = None) -> LearnerCore:
    return LearnerCore(statistics, max_axis=512, max_bytes=MAX_BYTES)


def refusal(data: bytes | Contribution, facts: JobFacts = FACTS, max_bytes: int = MAX_BYTES) -> str:
    data = data if isinstance(data, bytes) else data.encode()
    with pytest.raises(RefusedError) as caught:
        LearnerCore(max_axis=512, max_bytes=max_bytes).check(data, facts)
    return caught.value.code


def file(tensors: dict[str, np.ndarray], **changes: str) -> bytes:
    """A contribution's file with other tensors, or other words in its header."""
    _, text = tensorfile.read(contribution(JOB, 0, 50).encode())
    return safetensors.numpy.save(tensors, {**text, **changes})


def with_entry(key: str, index: int, value: int) -> Contribution:
    """One entry of a packed triangle replaced: on or off the diagonal."""
    packed = {name: array.copy() for name, array in sums(50).items()}
    packed[key][index] = value
    return contribution(JOB, 0, 50, sums=packed)


def test_a_good_contribution_comes_through_unchanged() -> None:
    sent = contribution(JOB, 0, 50)
    assert core().check(sent.encode(), FACTS).digest == sent.digest


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (contribution(Running("job_b"), 0, 50), "wrong_job"),
        (contribution(JOB, 0, 50, attempt=2), "stale_token"),
        (contribution(JOB, 0, 50, rule="hypergradient"), "wrong_rule"),
        (contribution(JOB, STEPS - 10, STEPS + 1), "bad_interval"),
        (contribution(JOB, 50, 50, sums={}), "bad_interval"),
        (contribution(JOB, 0, 50, sums={"input:7": np.zeros(28, np.int64)}), "unknown_key"),
        (
            contribution(JOB, 0, 50, sums={"param:layers.0.weight:0:8@0123456789ab": np.zeros(36, np.int64)}),
            "unknown_key",
        ),
        (contribution(JOB, 0, 50, sums=sums(51)), "bad_trace"),
        (with_entry("input:6", 1, 2**40), "not_psd"),
        (with_entry("input:6", 0, -(2**30)), "not_psd"),
    ],
)
def test_what_no_worker_can_have_seen_is_refused(sent: Contribution, code: str) -> None:
    assert refusal(sent) == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "malformed"),
        (b"\x80\x04pickle", "malformed"),
        (contribution(JOB, 0, 50).encode()[:-8], "malformed"),
        (file(dict(sums(50)), format="warpadam.warp/1"), "malformed"),
        (file(dict(sums(50)), start="NaN"), "malformed"),
        (file({"input:6": np.zeros(22, np.int64)}), "bad_shape"),
        (file({"input:6": np.zeros((6, 6), np.int64)}), "bad_shape"),
        (file({"input:6": np.full(21, np.nan)}), "bad_shape"),
        (file({"input:6": np.full(21, np.inf, np.float32)}), "bad_shape"),
        (file({"nothing": np.zeros(21, np.int64)}), "unknown_key"),
    ],
)
def test_files_that_are_no_contribution_are_refused(data: bytes, code: str) -> None:
    """What is not finite or not symmetric cannot even be written: the wire holds integers, and one triangle."""
    assert refusal(data) == code


def test_an_axis_that_is_too_long_for_a_matrix_is_unknown() -> None:
    with pytest.raises(RefusedError) as caught:
        LearnerCore(max_axis=5, max_bytes=MAX_BYTES).check(contribution(JOB, 0, 50).encode(), FACTS)
    assert caught.value.code == "unknown_key"


def test_more_than_sixteen_mebibytes_are_refused() -> None:
    size = 2100  # a triangle of 17 MiB
    model = {**MODEL, "input": size}
    packed = np.zeros(size * (size + 1) // 2, np.int64)
    big = contribution(JOB, 0, 50, sums={f"input:{size}": packed})
    facts = replace(FACTS, model=model)
    with pytest.raises(RefusedError) as caught:
        LearnerCore(max_axis=size, max_bytes=MAX_BYTES).check(big.encode(), facts)
    assert caught.value.code == "too_large"
    assert refusal(bytes(2 * 2**20), max_bytes=2**19) == "too_large"
    assert refusal(contribution(JOB, 0, 50), max_bytes=200) == "too_large"


def test_hidden_axes_count_only_under_the_jobs_own_anchor() -> None:
    key = "param:layers.0.weight:0:8@0123456789ab"
    sent = contribution(JOB, 0, 50, sums={key: np.zeros(36, np.int64)})
    assert core().check(sent.encode(), replace(FACTS, anchor="0123456789ab")).steps == 50
    assert refusal(sent, replace(FACTS, anchor="ba9876543210")) == "unknown_key"


def test_applying_twice_counts_once() -> None:
    learner = core()
    for _ in range(2):
        learner.apply(contribution(JOB, 0, 50))
    learner.apply(contribution(JOB, 50, 80))
    assert learner.starts(JOB.id) == {0, 50}
    assert learner.snapshot.generation == 2
    assert learner.snapshot.statistics.steps == 80


def test_a_snapshot_does_not_move() -> None:
    learner = core()
    learner.apply(contribution(JOB, 0, 50))
    before = learner.snapshot
    digest = before.statistics.digest()
    learner.apply(contribution(JOB, 50, 80))
    assert before.statistics.digest() == digest != learner.snapshot.statistics.digest()


def test_any_order_gives_the_same_digest_and_the_same_bytes() -> None:
    all_of_them = [contribution(Running(f"job_{name}"), start, start + 20) for name in "ab" for start in (0, 20)]
    found = set()
    for order in itertools.permutations(all_of_them):
        learner = core()
        for one in order:
            learner.apply(one)
        solved = solve(learner.snapshot)
        assert solved is not None
        found.add((solved.digest, solved.warp("patches", 1, None), solved.eigenvalues()))
    assert len(found) == 1


def test_memory_that_was_rebuilt_continues_where_it_was() -> None:
    first, second, third = (contribution(JOB, start, start + 20) for start in (0, 20, 40))
    whole = core()
    for one in (first, second, third):
        whole.apply(one)
    half = rebuild([first, second], {})
    again = core(rebuild([third], {JOB.id: half.jobs[JOB.id]}))
    assert again.snapshot.generation == whole.snapshot.generation == 3
    assert again.snapshot.statistics.digest() == whole.snapshot.statistics.digest()


def test_a_solved_p_says_where_it_comes_from() -> None:
    learner = core()
    learner.apply(contribution(JOB, 0, 50))
    solved = solve(learner.snapshot)
    assert solved is not None
    matrices, metadata = warpfile.decode(solved.warp("patches", 3, 2))
    assert (metadata.family, metadata.version, metadata.parent, metadata.rule) == ("patches", 3, 2, "covariance")
    assert metadata.statistics_digest == solved.digest == learner.snapshot.statistics.digest()
    assert solved.keys == [{"key": key, "size": size} for key, size in sorted(KEYS.items())]
    assert solved.jobs == [{"job": JOB.id, "steps": 50, "contributions": 1}]
    assert covariance.verify(matrices, learner.snapshot.statistics) == []
    assert json.loads(json.dumps(solved.solution.solved_with))["threads"] == "1"


def test_without_axes_there_is_no_p() -> None:
    learner = core()
    assert solve(learner.snapshot) is None
    learner.apply(contribution(JOB, 0, 50, sums={}))
    assert solve(learner.snapshot) is None


def test_the_meta_learner_never_loads_torch() -> None:
    code = "import sys, workers.meta.actor, workers.meta.client; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_of_a_model_that_code_makes_is_believed_what_such_a_model_could_have() -> None:
    """Its keys are its own; sizes are the dataset's, hidden axes the job's, and one step adds a bounded amount."""
    model = {"entrypoint": "a:b", "package": "0" * 64, "kwargs": {}, "input": [6], "output": 3}
    facts = replace(FACTS, model=model, anchor="0123456789ab")
    ours, theirs = (f"param:deep.weight:0:8@{anchor}" for anchor in ("0123456789ab", "ba9876543210"))
    good = {"input:6": sums(50)["input:6"], ours: np.zeros(36, np.int64), "sensor:2": np.zeros(3, np.int64)}
    assert core().check(contribution(JOB, 0, 50, sums=good).encode(), facts).sums.keys() == good.keys()
    for key, size in (("input:7", 7), ("output:4", 4), (theirs, 8), ("sensor:600", 600)):
        packed = np.zeros(size * (size + 1) // 2, np.int64)
        assert refusal(contribution(JOB, 0, 50, sums={key: packed}), facts) == "unknown_key"
    assert refusal(contribution(JOB, 0, 1, sums=sums(65)), facts) == "bad_trace"
