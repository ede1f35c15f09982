"""How a running job is shown: a bar with a live loss in a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from warpadam.sdk.job import Job

Show = Callable[["Job"], None]


@contextmanager
def job_progress(title: str, *, enabled: bool, console: Console | None = None) -> Iterator[Show]:
    """Yields a function that shows a job's present state."""
    if not enabled:
        yield lambda job: None
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, note="")

        def show(job: "Job") -> None:
            step, total = _steps(job)
            progress.update(task, total=total, completed=step, note=job_note(job))

        yield show


def _lines(console: Console) -> Show:
    """One line for each change of state and each tenth of the way."""
    last: tuple[str, int] | None = None

    def show(job: "Job") -> None:
        nonlocal last
        step, total = _steps(job)
        now = (job.state, 10 * step // total if total else 0)
        if now != last:
            console.print(
                f"{job.id}  {job_note(job)}  {step}/{total or '?'}", highlight=False, markup=False, soft_wrap=True
            )
            last = now

    return show


def _steps(job: "Job") -> tuple[int, int | None]:
    progress = job.data.get("progress") or {}
    return progress.get("step") or 0, progress.get("of")


def job_note(job: "Job") -> str:
    """What is worth saying of a job beside its steps: why it waits, its loss, why it failed."""
    if job.failure:
        return f"{job.state}: {job.failure['message']}"
    if job.result:
        return f"{job.state}, val_loss {job.result['final']['val_loss']:.4f}"
    reason = job.data.get("pending_reason")
    if reason and not job.is_over:
        return f"{job.state}: {reason['message']}"
    if job.state == "running":
        points = job.metrics("train_loss", max_points=2).get("train_loss")
        if points:
            return f"{job.state}, train_loss {points[-1]['value']:.4f}"
    return job.state
