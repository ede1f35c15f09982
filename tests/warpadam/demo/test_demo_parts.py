"""The demo's own arithmetic. The demo as a whole runs in tests/integration."""

from pathlib import Path

from warpadam.demo.corpus import cut
from warpadam.demo.plan import CONTRIBUTING_DOMAINS, HELD_OUT_DOMAIN, Plan
from warpadam.demo.report import Run, best, steps_ratio
from warpadam.demo.watch import ran_together
from warpadam.sdk.connection import Connection
from warpadam.sdk.job import Job


def _run(steps: int, loss: float, *, lr: float = 0.1, warp: int | None = 1) -> Run:
    data = {"id": "job_1", "state": "succeeded", "result": {"final": {"val_loss": loss}, "seconds": 1.0}}
    return Run(Job(data, Connection("http://127.0.0.1:9", None, timeout_s=1, tries=1)), steps, lr, warp)


def test_the_ratio_counts_the_smallest_budget_that_reached_the_target() -> None:
    adamw = _run(120, 2.0, warp=None)
    assert steps_ratio(adamw, [_run(120, 1.8), _run(90, 1.9), _run(80, 2.0), _run(60, 2.1)]) == 1.5


def test_a_budget_counts_only_if_every_larger_one_reached_it_too() -> None:
    adamw = _run(120, 2.0, warp=None)
    assert steps_ratio(adamw, [_run(120, 1.9), _run(90, 2.1), _run(60, 1.9)]) == 1.0
    assert steps_ratio(adamw, [_run(120, 2.1), _run(90, 1.9)]) is None


def test_the_best_learning_rate_is_taken_within_budget_and_method() -> None:
    runs = [_run(60, 2.2, lr=0.1), _run(60, 2.1, lr=0.2), _run(60, 2.0, lr=0.4, warp=None), _run(90, 1.0)]
    assert best(runs, steps=60, warped=True).lr == 0.2


def test_budgets_are_those_that_are_promised() -> None:
    assert Plan("f", 120).budgets == (120, 90, 80, 60)


def test_how_many_ran_together() -> None:
    connection = Connection("http://127.0.0.1:9", None, timeout_s=1, tries=1)
    spans = [("10", "20"), ("15", "25"), ("20", "30")]
    jobs = [Job({"started_at": start, "finished_at": end}, connection) for start, end in spans]
    assert ran_together(jobs) == 2


def test_every_domain_can_be_cut_here_and_they_differ(tmp_path: Path) -> None:
    texts = [cut(domain, tmp_path).read_bytes() for domain in ("modules", *CONTRIBUTING_DOMAINS, HELD_OUT_DOMAIN)]
    assert len({text[:5000] for text in texts}) == len(texts)
