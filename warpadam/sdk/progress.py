"""How a running job or a transfer is shown on standard error: a bar in a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

if TYPE_CHECKING:
    from warpadam.sdk.job import BaseJob

_AWAY = "no answer from the service: waiting for it"


class JobShown:
    """Shows nothing."""

    def job(self, job: "BaseJob[Any]", loss: float | None) -> None:
        """Its present state; `loss` is the newest of the training, where there is one."""

    def away(self) -> None:
        """The service does not answer at present."""


class _Bar(JobShown):
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def job(self, job: "BaseJob[Any]", loss: float | None) -> None:
        done = job.progress
        self._progress.update(self._task, total=done.of, completed=done.step, note=job_note(job, loss))

    def away(self) -> None:
        self._progress.update(self._task, note=_AWAY)


class _Lines(JobShown):
    """One line for each change of state and each tenth of the way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: object = None

    def job(self, job: "BaseJob[Any]", loss: float | None) -> None:
        step, total = job.progress.step, job.progress.of
        now = (job.state, 10 * step // total if total else 0)
        if now != self._last:
            self._print(f"{job.id}  {job_note(job, loss)}  {step}/{total or '?'}")
        self._last = now

    def away(self) -> None:
        if self._last != _AWAY:
            self._print(_AWAY)
        self._last = _AWAY

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def job_progress(title: str, *, enabled: bool, console: Console | None = None) -> Iterator[JobShown]:
    if not enabled:
        yield JobShown()
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, progress.add_task(title, total=None, note=""))


@contextmanager
def transfer_progress(title: str, size: int, *, enabled: bool) -> Iterator[Callable[[int], None] | None]:
    """Yields a function that is told how many more bytes have travelled, or None: a pipe sees nothing of it."""
    console = Console(stderr=True)
    if not (enabled and console.is_terminal):
        yield None
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=size)
        yield lambda amount: progress.advance(task, amount)


def job_note(job: "BaseJob[Any]", loss: float | None = None) -> str:
    """What is worth saying of a job beside its steps: why it waits, its loss, why it failed."""
    if job.failure:
        return f"{job.state}: {job.failure.message}"
    if job.result:
        final = job.result.final.get("val_loss")
        return f"{job.state}, val_loss {final:.4f}" if final is not None else job.state
    if job.pending_reason and not job.is_over:
        return f"{job.state}: {job.pending_reason.message}"
    return job.state if loss is None else f"{job.state}, train_loss {loss:.4f}"
