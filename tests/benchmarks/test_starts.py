"""The comparison of starts: rounds are real jobs, compute is matched, and nothing held out is behind a start."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.convergence import cache, grid, learning
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.store import Store
from benchmarks.convergence.tasks import Examples, Family, Part, Task, rows_part
from benchmarks.convergence.training import Run
from benchmarks.starts import making, narrow, report, rules
from benchmarks.starts.__main__ import every_cell
from benchmarks.starts.cells import REFERENCE, STEPS, Cell, named
from benchmarks.starts.contributing import SEED
from benchmarks.starts.matrix import FULL, PLANS, QUICK, StartBench, describe
from benchmarks.starts.summary import summarise
from warpadam.shapes import anchor
from workers.tasks.models import build

MODEL: dict[str, object] = {"arch": "mlp", "hidden": [6], "activation": "relu", "input": 5, "output": 2}
TINY = replace(QUICK, ratios=(1, 0.5), anchors=(1, 0.5), growth=0)


def task(name: str, seed: int) -> Task:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((60, 5)) * [3.0, 2.0, 1.0, 0.5, 0.1]).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((5, 2))).astype(np.float32)
    parts: dict[Part, Examples] = {"train": rows_part(x[:30], y[:30]), "tune": rows_part(x[30:45], y[30:45]),
                                   "test": rows_part(x[45:], y[45:])}  # fmt: skip
    return Task(name, "regression", frozenset({f"source {seed}"}), parts, MODEL)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Family]:
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "kept")
    made = Family(
        "tiny", "", T=8, batch_size=5, contributors=tuple(task(f"job {i}", i) for i in range(3)),
        tuning=(task("tuning", 7),), held_out=(task("held out", 8), task("held out too", 9)), init="shared",
        start={name: weight.detach() for name, weight in build(MODEL, seed=1).named_parameters()},
        anchor=anchor(MODEL, "family"),
    ).check()  # fmt: skip
    for module in (making, narrow):
        monkeypatch.setattr(module, "family_of", lambda name: made)
    yield made
    making.made.cache_clear()
    making.history_of.cache_clear()
    narrow.made.cache_clear()


def equal(left: making.Weights, right: making.Weights) -> bool:
    return all(torch.allclose(left[name], right[name], rtol=1e-5, atol=1e-6) for name in left)


def test_a_contributor_in_its_round_is_the_same_job_alone_and_one_alone_is_the_joint_run(tiny: Family) -> None:
    (only,) = making.history_of("tiny", 3, 1, "plain")
    for i, contributor in enumerate(tiny.contributors):
        alone = learning.run_alone(tiny, contributor, Setting(tiny.learning_rate), SEED + i, tiny.T)
        assert equal(alone, {name: stack[i] for name, stack in only.finals.items()})
    assert equal(making.joint(tiny, 1, 1), {name: stack[0] for name, stack in only.finals.items()})


def test_one_round_is_the_mean_and_the_next_begins_there_under_p(tiny: Family) -> None:
    first, second = making.history_of("tiny", 3, 2, "plain")
    average = {name: stack.mean(0) for name, stack in first.finals.items()}
    assert equal(making.plain(tiny, [first]), average)
    assert equal(second.began, average)
    without = learning.run_alone(
        tiny, tiny.contributors[0], Setting(tiny.learning_rate), SEED + 100, tiny.T, start=average
    )
    assert not equal(without, {name: stack[0] for name, stack in second.finals.items()})
    assert {each.job for each in second.contributions} == {f"tiny/job {i}/round 1" for i in range(3)}


def test_every_rule_makes_a_start_of_its_own(tiny: Family) -> None:
    found = {rule: making.made("tiny", 3, 2, rule).weights for rule in making.STARTS}
    for rule, weights in found.items():
        assert all(torch.isfinite(weight).all() for weight in weights.values()), rule
        assert not equal(weights, tiny.start or {}), rule
    # with three contributors the last five are all of them
    assert sum(equal(found["plain"], other) for other in found.values()) == 2


def test_joint_training_gets_exactly_the_contributors_steps_and_the_same_p(
    tiny: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    train = making.losses_and_gradients
    monkeypatch.setattr(
        making, "losses_and_gradients", lambda task, *rest: (steps.append(task.name), train(task, *rest))[1]
    )
    joint, start = (making.made("tiny", 3, 2, rule) for rule in ("joint", making.PRODUCT))
    assert len(steps) == joint.steps == start.steps == 3 * 2 * tiny.T
    assert {name: steps.count(name) for name in steps} == {f"job {i}": 2 * tiny.T for i in range(3)}
    assert all((joint.warps[key] == start.warps[key]).all() for key in start.warps)


def test_narrow_rounds_are_as_many_jobs_each_from_where_the_last_round_ended(
    tiny: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[float, making.Weights]] = []
    contribute = narrow.contribute

    def watched(family: Family, tasks: list[Task], began: making.Weights, *rest: Any) -> Any:
        begun.append((family.learning_rate, began))
        return contribute(family, tasks, began, *rest)

    monkeypatch.setattr(narrow, "contribute", watched)
    monkeypatch.setattr(narrow, "KINDS", {"ones": narrow.Width(1, 0.5)})
    found = Cell("ones", 3, 2, warped=True).behind(tiny)
    assert found.steps == 3 * 2 * tiny.T
    assert set(found.lineage.values()) == {each.digest for each in tiny.contributors}
    assert [rate / tiny.learning_rate for rate, _ in begun] == [1, 1, 1, 0.5, 0.5, 0.5]
    (first,) = narrow.turns(tiny.contributors, 2, 1)[0]
    number = narrow.NUMBER
    alone = learning.run_alone(tiny, first, Setting(tiny.learning_rate), SEED + 100 * number, tiny.T)
    assert equal(begun[0][1], tiny.start or {})
    assert equal(begun[1][1], alone)  # the average of one
    assert not equal(found.weights, begun[-1][1])
    with pytest.raises(ValueError, match="no rounds of 2"):
        narrow.turns(tiny.contributors, 2, 2)


def test_nothing_that_chooses_or_judges_is_behind_a_start(tiny: Family) -> None:
    found = making.made("tiny", 3, 1, making.PRODUCT)
    assert set(found.lineage) == {f"tiny/job {i}/round 0" for i in range(3)}
    making.assert_unseen(found, tiny)
    copied = replace(tiny.held_out[0], parts=tiny.contributors[1].parts)
    renamed = replace(tiny.tuning[0], sources=tiny.contributors[2].sources)
    for leaky in (replace(tiny, held_out=(copied,)), replace(tiny, tuning=(renamed,))):
        with pytest.raises(AssertionError, match="lineage of the start"):
            making.assert_unseen(found, leaky)
        with pytest.raises(AssertionError, match="lineage of the start"):
            describe(leaky, Cell("start", 3, 1, warped=False), tiny.held_out[1])


def test_cells_differ_in_what_their_runs_depend_on_and_are_found_by_name(tiny: Family) -> None:
    cells = [Cell(kind, 3, 1, warped) for kind in ("seed", "start", "joint") for warped in (True, False)]
    described = [describe(tiny, cell, tiny.held_out[0])[1] for cell in cells]
    assert len({json.dumps(each) for each in described}) == len(cells)
    assert all((each["warp"] is not None) == cell.warped for cell, each in zip(cells, described, strict=True))
    assert [named(cell.name) for cell in every_cell()] == every_cell()


def test_a_cell_steps_as_its_name_says_and_adams_runs_are_described_as_before_there_was_more(tiny: Family) -> None:
    held_out = tiny.held_out[0]
    cells = [Cell("start", 3, 1, True, step) for step in STEPS]
    assert [named(cell.name) for cell in cells] == cells
    assert [cell.name for cell in cells][-1] == "warp-adapt-nesterov, start 3 x 1"
    described = [describe(tiny, cell, held_out)[1] for cell in cells]
    assert [each.get("step", "") for each in described] == list(STEPS)
    bench = StartBench(Store(cache.FOLDER / "runs.jsonl"), TINY, lambda text: None)
    found: dict[str, float] = {}
    for cell in cells:
        run = Run(Setting(1e-2, beta1=cell.method().default.beta1), 0, 8)
        found[cell.step] = bench.run(tiny, cell.method(), held_out, [run])[run]["train"]
    assert len({round(loss, 6) for loss in found.values()}) == len(found)


def test_cells_that_are_not_run_again_stay_and_are_dropped_where_they_cannot_be_compared(
    tiny: Family, tmp_path: Path
) -> None:
    said: list[str] = []
    bench = StartBench(Store(tmp_path / "runs.jsonl"), TINY, said.append)
    first, second = Cell("start", 3, 1, warped=True), Cell("joint", 3, 1, warped=True)
    before = json.loads(summarise(bench, tiny, [first], tmp_path).read_text())["cells"]
    path = summarise(bench, tiny, [second], tmp_path)
    both = json.loads(path.read_text())["cells"]
    assert both.keys() == {REFERENCE.name, first.name, second.name}
    assert both[first.name] == before[first.name]
    other = json.loads(path.read_text())
    other["cells"][REFERENCE.name]["test"]["1"][0][0] *= 1.2
    path.write_text(json.dumps(other))
    assert json.loads(summarise(bench, tiny, [second], tmp_path).read_text())["cells"].keys() == both.keys() - {
        first.name
    }
    assert any("dropped" in text for text in said)


def test_budgets_reach_an_eighth_and_each_is_tuned_or_near_one_that_is() -> None:
    assert min(FULL.ratios) == 0.125
    assert all(ratio in FULL.ratios for ratio in grid.RATIOS if ratio <= 1.5)
    for plan in PLANS.values():
        assert 1 in plan.ratios
        assert set(plan.anchors) <= set(plan.ratios)
        assert grid.nearest_anchor(0.143, plan.anchors) == 0.125


def test_a_killed_comparison_goes_on_where_it_was_and_is_reported(tiny: Family, tmp_path: Path) -> None:
    store = tmp_path / "runs.jsonl"
    cells = [Cell("start", 3, 1, warped=True), Cell("joint", 3, 1, warped=False)]

    def run() -> str:
        bench = StartBench(Store(store), TINY, lambda text: None)
        monkeyed = [REFERENCE, *cells]
        return summarise(bench, tiny, monkeyed, tmp_path / "results").read_text()

    making.made.cache_clear()
    written = run()
    lines = store.read_text().splitlines()
    assert {json.loads(line)["configuration"]["task"] for line in lines} == {"tuning", "held out", "held out too"}
    store.write_text("\n".join(lines[: len(lines) // 2]) + '\n{"key": "cut')
    assert json.loads(run())["cells"].keys() == json.loads(written)["cells"].keys()
    assert len(store.read_text().splitlines()) == len(lines)
    bench = StartBench(Store(store), TINY, lambda text: None)
    bench.run(tiny, REFERENCE.method(), tiny.held_out[0], [Run(Setting(1e-3), 0, 8)])
    text = report.write(tmp_path / "results").read_text()
    assert text.count("| 3 × 1 | 3 T |") == 2  # tuned once, tuned by budget
    assert (tmp_path / "results" / "tiny.png").stat().st_size > 1000


def test_rules_are_compared_on_tuning_tasks_alone(
    tiny: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "CONTRIBUTORS", 3)
    monkeypatch.setattr(rules, "every_start", lambda: [("seed", 1), ("plain", 1), ("precise", 2)])
    bench = StartBench(Store(tmp_path / "runs.jsonl"), TINY, lambda text: None)
    path = rules.study(bench, tiny, tmp_path)
    trained = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert {row["configuration"]["task"] for row in trained} == {"tuning"}
    assert list(json.loads(path.read_text())["loss"]) == ["seed x 1", "plain x 1", "precise x 2"]
    assert "| precise x 2 |" in report.write(tmp_path).read_text()
