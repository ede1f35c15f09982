"""The demo's own arithmetic. The demo as a whole runs in tests/integration."""

import io
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.warpadam.sdk.served import Served
from warpadam import Client
from warpadam.demo.corpus import cut
from warpadam.demo.plan import CONTRIBUTING_DOMAINS, HELD_OUT_DOMAIN, LEARNING_RATES, Plan
from warpadam.demo.report import Run, best, print_table, steps_ratio
from warpadam.demo.run import fresh_family, next_steps
from warpadam.demo.watch import ran_together, wait_for_all
from warpadam.sdk.decode import decode
from warpadam.sdk.job import Job
from warpadam.sdk.models import Point


def _run(steps: int, loss: float, *, lr: float = 0.1, warp: int | None = 1, start: int | None = None) -> Run:
    result = {"steps": steps, "seconds": 1.0, "final": {"val_loss": loss}}
    return Run(_job("succeeded", result=result), steps, lr, warp, start)


def _job(state: str, **fields: Any) -> Job:
    return decode(Job, {"id": "job_1", "state": state, "spec": {}, "created_at": "2026-01-31T12:00:00Z", **fields})


def test_the_ratio_counts_the_smallest_budget_that_reached_the_target() -> None:
    adamw = _run(120, 2.0, warp=None)
    assert steps_ratio(adamw, [_run(120, 1.8), _run(90, 1.9), _run(80, 2.0), _run(60, 2.1)]) == 1.5


def test_a_budget_counts_only_if_every_larger_one_reached_it_too() -> None:
    adamw = _run(120, 2.0, warp=None)
    assert steps_ratio(adamw, [_run(120, 1.9), _run(90, 2.1), _run(60, 1.9)]) == 1.0
    assert steps_ratio(adamw, [_run(120, 2.1), _run(90, 1.9)]) is None


def test_the_best_learning_rate_is_taken_within_budget_and_method() -> None:
    runs = [_run(60, 2.2, lr=0.1), _run(60, 2.1, lr=0.2), _run(60, 2.0, lr=0.4, warp=None), _run(90, 1.0)]
    runs.append(_run(60, 1.5, lr=0.8, start=3))
    assert best(runs, steps=60, warped=True).lr == 0.2
    assert best(runs, steps=60, warped=True, started=True).lr == 0.8


def test_budgets_are_those_that_are_promised() -> None:
    assert Plan("f", 120).budgets == (120, 90, 80, 60)
    assert Plan("f", 120).start_budgets == (120, 60, 40, 30)


def test_how_many_ran_together() -> None:
    at = "2026-01-31T12:{}:00Z".format
    spans = [(10, 20), (15, 25), (20, 30)]
    jobs = [_job("succeeded", started_at=at(start), finished_at=at(end)) for start, end in spans]
    assert ran_together(jobs) == 2


def test_every_domain_can_be_cut_here_and_they_differ(tmp_path: Path) -> None:
    texts = [cut(domain, tmp_path).read_bytes() for domain in ("modules", *CONTRIBUTING_DOMAINS, HELD_OUT_DOMAIN)]
    assert len({text[:5000] for text in texts}) == len(texts)


def test_the_table_fits_80_columns_and_marks_who_reached_the_target() -> None:
    runs = [_run(120, 2.0 + lr, lr=lr, warp=warp) for warp in (None, 12) for lr in LEARNING_RATES]
    runs += [_run(90, 2.5 + lr, lr=lr, warp=12) for lr in LEARNING_RATES]
    console = Console(file=io.StringIO(), width=80)
    warped = [best(runs, steps=steps, warped=True) for steps in (120, 90)]
    print_table(console, best(runs, steps=120, warped=False), warped, runs)
    assert isinstance(console.file, io.StringIO)
    *_, adamw, reached, missed = console.file.getvalue().splitlines()
    assert max(map(len, (adamw, reached, missed))) <= 80
    assert "…" not in console.file.getvalue()
    assert ("≤" in adamw, "≤" in reached, "≤" in missed) == (False, True, False)
    assert "2.0010" in adamw


def test_what_to_do_next_can_be_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path.resolve() / "bin" / "warpadam"
    script.parent.mkdir()
    script.touch()
    monkeypatch.setattr(sys, "executable", str(script.with_name("python")))
    serve, *_ = next_steps("patches", Path("my output/data"))
    assert shlex.split(serve, comments=True) == [str(script), "serve", "--data-dir", "my output/data"]
    monkeypatch.chdir(tmp_path)
    assert next_steps("patches", Path("d"))[0].startswith("bin/warpadam serve")


def test_progress_in_a_pipe_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warpadam.demo.watch._POLL_S", 0.0)
    states = iter(["running", "running", "succeeded", "succeeded"])

    def refresh(job: Job) -> Job:
        job.state = next(states)
        return job

    monkeypatch.setattr(Job, "refresh", refresh)
    monkeypatch.setattr(
        Job, "metrics", lambda *_, **__: {"train_loss": [Point(step=1, value=2.1234, at=datetime.now(UTC))]}
    )
    progress = {"step": 120, "of": 120}
    jobs = [
        _job("queued", progress=progress, spec={"name": name}) for name in ("warpadam-120-0.001", "warpadam-120-0.016")
    ]
    console = Console(file=io.StringIO(), width=80)
    wait_for_all(jobs, "compare", console)
    assert isinstance(console.file, io.StringIO)
    first, *_, last = console.file.getvalue().splitlines()
    assert first == "  compare: 0/2 done, warpadam-120-0.001 120/120 loss 2.12"
    assert last == "  compare: 2/2 done"


def test_each_demo_in_a_folder_has_a_family_of_its_own(served: Served) -> None:
    with Client(served.url) as client:
        for expected in ("stdlib-text", "stdlib-text-2", "stdlib-text-3"):
            assert fresh_family(client) == expected
            client.families.create(expected)
