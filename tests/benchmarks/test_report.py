"""What the tables say, from numbers that are known."""

import json
from pathlib import Path

import pytest

from benchmarks.convergence import report


def numbers(own: float = 1.0) -> dict[str, object]:
    found = {
        "ratio": {"steps": 2.0, "own": own, "headline": 2.0 / own, "low": 0.9, "high": 3.0},
        "training_ratio": {"headline": 1.5},
        "ratio_at_2T": {"headline": 2.4, "own": 1.0},
        "gain": {"1": [0.1, 0.0, 0.2], "0.5": [-0.1, 0.0, 0.0]},
        "test": {"1": [[0.5, 0.6], [0.7, 0.8]], "0.5": [[0.9, 1.0], [1.1, 1.2]]},
        "chosen": {"1": {"lr": 0.016, "beta2": 0.95, "warmup": 0.05, "at_edge": True}},
    }
    adamw = {**found, "ratio": {"steps": own, "own": own, "headline": 1.0, "low": 1.0, "high": 1.0}}
    never = {**found, "ratio": {"steps": 0.0, "own": own, "headline": 0.0, "low": 0.0, "high": 1.0}}
    return {
        "family": "patches", "about": "patches", "T": 100, "batch_size": 8, "held_out": ["a", "b"], "tuning": ["c"],
        "contributors": ["d"] * 20, "warp_version": "abc", "machine": {"torch": "2"},
        "methods": {"warp": found, "adamw": adamw, "muon": never},
    }  # fmt: skip


def test_a_report_says_edges_harm_and_too_long_budgets(tmp_path: Path) -> None:
    (tmp_path / "patches.json").write_text(json.dumps(numbers(own=1.25)))
    times = {"step": {"adamw": 1.0, "warp": 1.1, "muon": 2.0}, "observing": 0.1, "share": 10.0}
    (tmp_path / "wallclock.json").write_text(json.dumps({"families": {"patches": times}}))
    text = report.write(tmp_path).read_text()
    assert "T is too long" in text
    assert "| warp | 1.60 [0.90, 3.00] † | 1.50 | 2.40 | -10 % | +11 % | – | 0.016 (edge), 0.95, 5 % |" in text
    assert "| muon | < 0.5" in text
    # 100 / 1.6 steps of 1.1 + 0.1 and a share of 10 AdamW steps, against AdamW's 100
    assert f"| patches | warp | 1.10 | {1.6 / 1.1:.2f} | {100 / (62.5 * 1.2 + 10):.2f} | 6 (70) |" in text
    assert (tmp_path / "patches.png").stat().st_size > 1000


def test_what_is_kept_at_adamws_rate_is_a_share_of_what_tuning_gains() -> None:
    made = numbers()
    methods = {"adamw": {}, "warp": {"gain": {"1": [0.2], "0.5": [0.3], "0.25": [0.4]}},
               "warp@adamw-lr": {"gain": {"1": [0.1], "0.5": [0.2], "0.25": [0.3]}},
               "warp@multiplier": {"gain": {"1": [0.2], "0.5": [0.2], "0.25": [0.5]}, "multiplier": 2.0}}  # fmt: skip
    assert "| patches | warp | +0.300 | +0.200 | 67 % | +0.300 (× 2) |" in report.untouched(
        [made | {"methods": methods}]
    )
    methods["warp"]["gain"]["1"] = [-0.69]
    assert "no gain to keep" in report.untouched([made | {"methods": methods}])
    assert report.untouched([made]) == ""


@pytest.mark.parametrize(("names", "order"), [({"warp", "adamw", "zeta", "alpha"}, ["adamw", "warp", "alpha", "zeta"])])
def test_peers_come_first(names: set[str], order: list[str]) -> None:
    assert report.ordered(names) == order
