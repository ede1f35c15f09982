"""Live progress over several jobs: one bar in a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from warpadam.sdk.errors import JobFailed
from warpadam.sdk.job import Job

_POLL_S = 0.4
_ASKED_AT_ONCE = 4
"""Jobs run in the order of the queue, so the others are waiting; asking for each would take CPU from those that run."""
_LINE_EVERY_S = 5.0
_LONGEST_NOTE = 68
"""With its title a line has at most 80 columns."""


def wait_for_all(jobs: Sequence[Job], title: str, console: Console) -> None:
    """Returns when all have succeeded. Raises JobFailed for the first that did not."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TextColumn(
            "{task.fields[note]}", style="dim", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
        ),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=sum(_steps(job)[1] for job in jobs), note="")
        printed = 0.0
        while True:
            for job in [job for job in jobs if not job.is_over][:_ASKED_AT_ONCE]:
                job.refresh()
                if job.is_over and job.state != "succeeded":
                    raise JobFailed(job.id, job.failure.raw if job.failure else {"message": f"it is {job.state}"})
            note = _note(jobs, is_bar=console.is_terminal)
            progress.update(task, completed=sum(_steps(job)[0] for job in jobs), note=note)
            over = all(job.is_over for job in jobs)
            if not console.is_terminal and (over or time.monotonic() - printed > _LINE_EVERY_S):
                printed = time.monotonic()
                console.print(f"  {title}: {note}", markup=False, soft_wrap=True)
            if over:
                return
            time.sleep(_POLL_S)


def _steps(job: Job) -> tuple[int, int]:
    return job.progress.step, job.progress.of or 0


def _note(jobs: Sequence[Job], *, is_bar: bool) -> str:
    """Beside a bar the job that runs; on a line of its own how many are done, and of those that run what fits."""
    running = [job for job in jobs if job.state == "running"]
    if is_bar:
        return "".join(f"{job.spec['name']} {_loss(job)}" for job in running[:1])
    note = f"{sum(job.is_over for job in jobs)}/{len(jobs)} done"
    for job in running:
        more = f"{note}, {job.spec['name']} {_steps(job)[0]}/{_steps(job)[1]} {_loss(job)}".rstrip()
        if len(more) > _LONGEST_NOTE:
            break
        note = more
    return note


def _loss(job: Job) -> str:
    points = job.metrics("train_loss", max_points=2).get("train_loss")
    return f"loss {points[-1].value:.2f}" if points else ""


def ran_together(jobs: Sequence[Job]) -> int:
    """The largest number of these jobs that were running at one moment."""
    began = [(job.started_at, 1) for job in jobs if job.started_at]
    moments = began + [(job.finished_at, -1) for job in jobs if job.finished_at]
    most = now = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most
