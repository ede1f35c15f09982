"""The rules of the comparison: what may choose a setting, what counts as reached, what P may have seen."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.convergence import cache, grid, learning, matrix
from benchmarks.convergence.families import family, images, tables
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.matrix import Bench
from benchmarks.convergence.methods import METHODS
from benchmarks.convergence.plan import QUICK
from benchmarks.convergence.score import log_gain, smallest_budget, steps_ratio
from benchmarks.convergence.store import Store, code_version, key_of
from benchmarks.convergence.tasks import Examples, Family, Part, RowsPart, Task, rows_part
from benchmarks.convergence.tuning import choose, multiplier

RATIOS = (2, 1, 0.5, 0.25)


def test_a_budget_counts_only_if_every_larger_one_reaches_the_target_too() -> None:
    assert smallest_budget({2: 1.0, 1: 1.0, 0.5: 1.0, 0.25: 1.1}, 1.0) == 0.5
    assert smallest_budget({2: 1.0, 1: 1.2, 0.5: 1.0, 0.25: 0.9}, 1.0) == 2
    assert smallest_budget({2: 1.1, 1: 1.0, 0.5: 1.0, 0.25: 1.0}, 1.0) is None
    assert smallest_budget({2: float("nan"), 1: 0.5}, 1.0) is None


def curve(at_T: float, *, tasks: int = 3, seeds: int = 5, noise: float = 0.0) -> dict[float, np.ndarray]:
    """Losses that fall as 1 / budget; `at_T` at T."""
    rng = np.random.default_rng(1)
    return {ratio: at_T / ratio * np.exp(noise * rng.standard_normal((tasks, seeds))) for ratio in RATIOS}


def test_the_steps_ratio_is_budgets_the_smallest_budget_and_is_divided_by_adamws_own() -> None:
    ratio = steps_ratio(curve(0.5), curve(1.0))
    assert (ratio.steps, ratio.own, ratio.headline, ratio.low, ratio.high) == (2, 1, 2, 2, 2)
    assert steps_ratio(curve(0.5), curve(1.0), reference=2).headline == 2
    assert steps_ratio(curve(0.25), curve(1.0), reference=2).headline == 4
    flat = {**curve(1.0), 0.5: np.full((3, 5), 1.0)}  # AdamW itself needs only half of T
    ratio = steps_ratio(curve(0.5), flat)
    assert (ratio.steps, ratio.own, ratio.headline) == (2, 2, 1)


def test_a_method_that_never_reaches_the_target_has_no_ratio_and_noise_widens_the_interval() -> None:
    assert steps_ratio(curve(10.0), curve(1.0)).steps == 0
    noisy = steps_ratio(curve(0.5, noise=0.5), curve(1.0, noise=0.5))
    assert noisy.low < noisy.high


def test_the_gain_is_paired() -> None:
    adamw = {1.0: np.array([[1.0, 10.0], [100.0, 1000.0]])}
    gain = log_gain({1.0: adamw[1.0] * 0.9}, adamw)
    assert gain == pytest.approx((-np.log(0.9),) * 3)


def test_the_choice_is_the_least_geometric_mean_and_a_diverged_run_never_wins() -> None:
    good, bad, lost = Setting(1e-2), Setting(2e-2), Setting(4e-2)
    assert choose({bad: [1.0, 1.0], good: [0.1, 2.0], lost: [1e-9, 1e30]}).setting == good
    assert multiplier({1.0: [1.0], 2.0: [0.9], 4.0: [0.9]}) == 2.0


def test_a_window_grows_where_the_best_is_at_its_edge() -> None:
    window = range(1, 6)
    assert grid.grown(window, Setting(grid.rate(5))) == range(1, 8)
    assert grid.grown(window, Setting(grid.rate(1))) == range(-1, 6)
    assert grid.grown(window, Setting(grid.rate(3))) == window
    assert grid.at_edge(window, Setting(1.0))


def test_each_budget_takes_the_setting_of_the_nearest_tuned_one() -> None:
    assert [grid.nearest_anchor(ratio) for ratio in (2, 1.5, 1.25, 0.9, 0.67, 0.5, 0.36, 0.33, 0.25)] == [
        1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25,
    ]  # fmt: skip


@pytest.mark.parametrize("build", [images.inpaint, images.digits, tables.values, tables.classes])
def test_parts_of_a_task_are_disjoint_and_held_out_sources_are_new(build: object) -> None:
    made: Family = build().check()  # type: ignore[operator]  # a parametrised function
    seen = frozenset().union(*(task.sources for task in made.contributors))
    assert len(made.contributors) == 20
    for task in (*made.tuning, *made.held_out):
        assert task.sources
        assert not task.sources & seen
    rows = [rows_of(made.held_out[0], part) for part in ("train", "tune", "test")]
    assert all(rows)
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]


def rows_of(task: Task, part: Part) -> set[bytes]:
    """The examples with x and y; a plain patch of sky may look like another, so only those with some texture."""
    found = task.parts[part]
    assert isinstance(found, RowsPart)
    rows = torch.cat([found.x.flatten(1), found.y.float().view(len(found), -1)], dim=1).numpy()
    return {row.tobytes() for row in rows if len(np.unique(row)) > len(row) // 2 or task.kind == "classification"}


def test_widths_of_held_out_jobs_are_new_where_weights_are_drawn() -> None:
    for made in (family("digits"), family("table-values")):
        contributed = {json.dumps(task.model["hidden"]) for task in made.contributors}
        assert not contributed & {json.dumps(task.model["hidden"]) for task in made.held_out}


def test_a_family_that_shares_a_source_is_refused() -> None:
    made = family("table-values")
    leaky = replace(made.held_out[0], sources=made.contributors[0].sources)
    with pytest.raises(ValueError, match="share"):
        replace(made, held_out=(leaky,)).check()


def test_lineage_holds_every_job_of_p_and_refuses_what_p_has_seen(tiny: Family) -> None:
    learned = learning.learn(tiny.name)
    assert set(learned.statistics.jobs) == set(learned.lineage) == {"tiny/job 0", "tiny/job 1"}
    learning.assert_unseen(learned, tiny.held_out)
    with pytest.raises(AssertionError, match="lineage"):
        learning.assert_unseen(learned, [replace(tiny.held_out[0], parts=tiny.contributors[0].parts)])
    with pytest.raises(AssertionError, match="lineage"):
        learning.assert_unseen(learned, [replace(tiny.held_out[0], sources=frozenset({"source 1"}))])
    with pytest.raises(AssertionError, match="does not name"):
        learning.assert_unseen(replace(learned, lineage={}), tiny.held_out)


def task(name: str, seed: int) -> Task:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 5)) @ np.diag([3.0, 2.0, 1.0, 0.5, 0.1])
    y = np.tanh(x @ rng.standard_normal((5, 2)))
    parts: dict[Part, Examples] = {
        part: rows_part(x[i::3].astype(np.float32), y[i::3].astype(np.float32))
        for i, part in enumerate(("train", "tune", "test"))
    }  # type: ignore[misc]  # the literals of Part
    model = {"arch": "mlp", "hidden": [6], "activation": "relu", "input": 5, "output": 2}
    return Task(name, "regression", frozenset({f"source {seed}"}), parts, model)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Family:
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "kept")
    made = Family(
        "tiny", "", T=8, batch_size=5,
        contributors=(task("job 0", 0), task("job 1", 1)),
        tuning=(task("tuning", 2),),
        held_out=(task("held out", 3), task("held out too", 4)),
    ).check()  # fmt: skip
    for module in (matrix, learning):
        monkeypatch.setattr(module, "family_of", lambda name: made)
    learning.learn.cache_clear()
    matrix.start_of.cache_clear()
    return made


def lines(path: Path) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tuning_reads_the_tuning_part_of_tuning_tasks_only(tiny: Family, tmp_path: Path) -> None:
    bench = Bench(Store(tmp_path / "runs.jsonl"), QUICK, lambda text: None)
    choices = bench.tune(tiny, METHODS["warp"])
    trained = lines(tmp_path / "runs.jsonl")
    assert {row["configuration"]["task"] for row in trained} == {"tuning"}
    # with every test and training loss turned to nonsense, the choice stays
    for row in trained:
        row["result"].update(test=-row["result"]["test"], train=0.0)
    (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trained))
    again = Bench(Store(tmp_path / "other.jsonl"), QUICK, lambda text: None)
    assert again.tune(tiny, METHODS["warp"]) == choices
    assert len(lines(tmp_path / "other.jsonl")) == len(trained)


def test_a_killed_run_resumes_and_trains_nothing_twice(tiny: Family, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    bench = Bench(Store(path), QUICK, lambda text: None)
    first = bench.judge(tiny, METHODS["adamw"], lambda ratio: Setting(1e-2))
    whole = path.read_text()
    assert len(whole.splitlines()) == len(tiny.held_out) * len(QUICK.ratios) * len(QUICK.seeds)
    path.write_text(whole[: len(whole) * 2 // 3])  # killed in the middle of a line
    kept = path.read_text().count("\n")
    again = Bench(Store(path), QUICK, lambda text: None)
    assert len(again.store) == kept
    second = again.judge(tiny, METHODS["adamw"], lambda ratio: Setting(1e-2))
    assert sorted(whole.splitlines()) != whole.splitlines() or len(lines(path)) == len(whole.splitlines())
    assert len(lines(path)) == len(whole.splitlines())
    assert first[1] == [[pytest.approx(outcome, rel=1e-4) for outcome in some] for some in second[1]]


def test_what_a_run_depends_on_is_in_its_key(tiny: Family) -> None:
    described = {name: matrix.describe(tiny, METHODS[name], tiny.held_out[0])[1] for name in ("adamw", "warp")}
    assert described["adamw"]["warp"] is None
    assert described["warp"]["warp"]
    other = matrix.describe(tiny, METHODS["adamw"], tiny.held_out[1])[1]
    assert other["data"] != described["adamw"]["data"]
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 2, "b": 1})


def test_comments_are_no_new_code(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.py", "b.py", "c.py")]
    files[0].write_text('"""One."""\nx = 1  # one\n')
    files[1].write_text('"""Two."""\n\nx = 1\n')
    files[2].write_text('"""One."""\nx = 2  # one\n')
    versions = [code_version(file) for file in files]
    assert versions[0] == versions[1] != versions[2]
