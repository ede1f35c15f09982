"""What the demo found: the table, the curves, and the one JSON object."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from warpadam.sdk.job import Job

Json = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """One job on the held-out domain, ended."""

    job: Job
    steps: int
    lr: float
    warp: int | None
    start: int | None = None
    """The family's start that it began with; None: the base."""

    @property
    def val_loss(self) -> float:
        assert self.job.result is not None
        return self.job.result.final["val_loss"]

    @property
    def seconds(self) -> float:
        assert self.job.result is not None
        return self.job.result.seconds

    def summary(self) -> Json:
        return {"val_loss": round(self.val_loss, 6), "lr": self.lr, "seconds": round(self.seconds, 3)}


def best(runs: Sequence[Run], *, steps: int, warped: bool, started: bool = False) -> Run:
    """The run with the best learning rate at this budget."""
    kind = (steps, warped, started)
    alike = (run for run in runs if (run.steps, run.warp is not None, run.start is not None) == kind)
    return min(alike, key=lambda run: run.val_loss)


def steps_ratio(adamw: Run, warped: Sequence[Run]) -> float | None:
    """T divided by the smallest budget at which WarpAdam reached AdamW's final loss; None where it did at none.

    A budget counts only if each larger one reached it too.
    """
    reached = None
    for run in sorted(warped, key=lambda run: -run.steps):
        if run.val_loss > adamw.val_loss:
            break
        reached = run.steps
    return None if reached is None else round(adamw.steps / reached, 4)


def print_table(console: Console, adamw: Run, warped: Sequence[Run], runs: Sequence[Run]) -> None:
    """One row for each budget; 80 columns are enough for five learning rates."""
    rates = sorted({run.lr for run in runs})
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("optimizer", no_wrap=True)
    for name in ("steps", *(f"{lr:g}" for lr in rates), "best", "at lr", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in (adamw, *warped):
        kind = (run.steps, run.warp, run.start)
        grid = {other.lr: other for other in runs if (other.steps, other.warp, other.start) == kind}
        reached = " ≤" if run.warp is not None and run.val_loss <= adamw.val_loss else "  "
        losses = [f"{grid[lr].val_loss:.3f}" for lr in rates]
        table.add_row(
            _name(run), str(run.steps), *losses, f"{run.val_loss:.4f}{reached}", f"{run.lr:g}", f"{run.seconds:.1f} s"
        )
    console.print("[bold]Held-out domain: validation loss in nats per byte[/]")
    console.print("after each budget, at each learning rate. ≤: AdamW's final loss was reached.", style="dim")
    console.print(table)


def print_price(console: Console, jobs: int, steps: int) -> None:
    """What is in a start, and so in no ratio."""
    console.print(f"The start holds {jobs} jobs' {steps} steps on other domains. AdamW from the base had")
    console.print("none of them, and no ratio counts them: what P saves is the ratio without the start.")


def _name(run: Run) -> str:
    if run.start is not None:
        return f" + start v{run.start}"
    return "AdamW" if run.warp is None else f"WarpAdam v{run.warp}"


def plot(path: Path, adamw: Run, warped: Sequence[Run]) -> None:
    """Validation loss over steps: one curve for each budget, at its best learning rate."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    shades = pyplot.get_cmap("viridis")
    lines = sorted((run for run in warped if run.start is None), key=lambda run: -run.steps)
    for index, run in enumerate(lines):
        steps, losses = _curve(run)
        label = f"WarpAdam, {run.steps} steps, lr {run.lr:g}"
        axes.plot(steps, losses, "o-", ms=3, color=shades(0.15 + 0.2 * index), label=label)
    for run in (run for run in warped if run.start is not None):
        steps, losses = _curve(run)
        label = f"WarpAdam from the family's start, {run.steps} steps"
        axes.plot(steps, losses, "^--", ms=3, color="tab:orange", label=label)
    steps, losses = _curve(adamw)
    axes.plot(steps, losses, "s-", ms=3, color="tab:red", label=f"AdamW, {adamw.steps} steps, lr {adamw.lr:g}")
    axes.axhline(adamw.val_loss, ls=":", color="tab:red", lw=1)
    axes.set(xlabel="step", ylabel="validation loss (nats per byte)", title="A text domain never seen, from one base")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _curve(run: Run) -> tuple[list[int], list[float]]:
    points = run.job.metrics("val_loss")["val_loss"]
    return [point.step for point in points], [point.value for point in points]
