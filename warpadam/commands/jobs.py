"""`warpadam submit | jobs | show | watch | logs | metrics | cancel | pause | resume | delete`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from warpadam.client import Client
from warpadam.commands.complete import family_names, job_ids
from warpadam.commands.describing import read_spec
from warpadam.commands.output import AsJson, Limit, plain, print_json, print_table, print_yaml, rfc3339
from warpadam.sdk.job import Job
from warpadam.sdk.models import Event, LogLine, Validation
from warpadam.sdk.progress import job_note

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id: job_…", autocompletion=job_ids)]


def register(app: typer.Typer) -> None:
    for command in (submit, watch, show, logs, metrics, cancel, pause, resume, delete):
        app.command()(command)
    app.command("jobs")(list_jobs)


def submit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The job's description, YAML or JSON; - for stdin.")],
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Wait for its end and show its progress.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Submit nothing: say what would become of it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job and print its id. The least that FILE holds:

    \b
    family: digits
    dataset: {builtin: digits}
    task: classification
    model: {arch: mlp, hidden: [64]}
    training: {steps: 300}

    With --watch it exits with 1 where the job does not succeed, and waits through restarts of the service.

    \b
    Examples:
    warpadam submit job.yaml --watch
    warpadam submit job.yaml --dry-run
    id=$(warpadam submit - < job.json)
    """
    spec = read_spec(file)
    with Client() as client:
        if dry_run:
            found = client.jobs.validate(spec)
            print_json(found.raw) if as_json else _print_validation(found)
            return
        job = client.jobs.create(spec)
        if not follow:
            print_json(job.raw) if as_json else typer.echo(job.id)
            if job.pending_reason:
                typer.echo(plain(f"it waits: {job.pending_reason.message}"), err=True)
            return
        _watch(job, as_json)


def _print_validation(found: Validation) -> None:
    version = found.warp_version
    typer.echo("would be accepted, " + (f"with P version {version}" if version else "without a P"))
    for warning in found.warnings:
        where = f"{warning.param}: " if warning.param else ""
        typer.echo(plain(f"warning: {where}{warning.message} [{warning.code}]"))


def watch(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job's progress until it ends, through restarts of the service. Exits with 1 where it did not succeed."""
    with Client() as client:
        _watch(client.jobs.get(job_id), as_json)


def _watch(job: Job, as_json: bool) -> None:
    try:
        job.wait(progress=True, raise_on_failure=False)
    except KeyboardInterrupt:
        typer.echo(f"The job goes on: `warpadam watch {job.id}` shows it again, `cancel` ends it.", err=True)
        raise
    print_json(job.raw) if as_json else typer.echo(plain(f"{job.id} {job_note(job)}"))
    if job.state != "succeeded":
        raise typer.Exit(1)


def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; given twice: in either.")] = None,
    family: Annotated[str | None, typer.Option(help="Only jobs of this family.", autocompletion=family_names)] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    \b
    Examples:
    warpadam jobs --state running --state queued
    warpadam jobs --family patches -n 5 --json | jq -r '.[].id'
    """
    with Client() as client:
        found = list(islice(client.jobs.list(state=state, family=family, page_size=min(limit, 100)), limit))
    if as_json:
        print_json([job.raw for job in found])
        return
    columns = ("job", "state", "family", "name", "step", "warp", "val_loss", "created")
    print_table(columns, map(_row, found), dispensable=("created", "name", "warp"))


def _row(job: Job) -> tuple[object, ...]:
    loss = job.result.final.get("val_loss") if job.result else None
    steps = f"{job.progress.step}/{job.progress.of or '?'}"
    family, name = job.spec.get("family"), job.spec.get("name")
    return job.id, job.state, family, name, steps, job.warp_version, loss, job.created_at


def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show everything about a job."""
    with Client() as client:
        job = client.jobs.get(job_id)
    print_json(job.raw) if as_json else print_yaml(job.raw)


def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job."""
    with Client() as client:
        _print_state(client.jobs.cancel(job_id), as_json)


def pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job: it keeps its last checkpoint, and goes on from there."""
    with Client() as client:
        _print_state(client.jobs.pause(job_id), as_json)


def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Put a paused job back into the queue."""
    with Client() as client:
        _print_state(client.jobs.resume(job_id), as_json)


def delete(job_id: JobId, as_json: AsJson = False) -> None:
    """Delete a job that has ended. What it contributed stays in its family's P."""
    with Client() as client:
        client.jobs.delete(job_id)
    print_json({"id": job_id, "deleted": True}) if as_json else typer.echo(f"{job_id} deleted")


def _print_state(job: Job, as_json: bool) -> None:
    print_json(job.raw) if as_json else typer.echo(f"{job.id} {job.state}")


def logs(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="What happened to the job instead: states, checkpoints, contributions.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print what a job's attempts printed, or with --events what happened to it."""
    with Client() as client:
        job = client.jobs.get(job_id)
        for record in job.events(follow=follow) if events else job.logs(follow=follow):
            print_json(record.raw) if as_json else typer.echo(plain(_line(record)))


def _line(record: Event | LogLine) -> str:
    """A change of state begins with the new state."""
    if isinstance(record, LogLine):
        return record.message
    state, message = record.data.get("to"), record.message
    said = f"{state}: {message}" if record.type == "job.state" and not message.startswith(str(state)) else message
    return f"{rfc3339(record.created_at)}  {record.type:<22}{said}"


def metrics(
    job_id: JobId,
    name: Annotated[list[str] | None, typer.Option(help="Only this metric; given twice: both.")] = None,
    max_points: Annotated[int, typer.Option(help="Of each metric at most so many points.", min=2, max=10_000)] = 1000,
    as_json: AsJson = False,
) -> None:
    """Print what a job measured: metric, step, value.

    \b
    Examples:
    warpadam metrics job_… --name val_loss
    warpadam metrics job_… --json | jq '.val_loss[-1].value'
    """
    with Client() as client:
        found = client.jobs.get(job_id).metrics(*(name or ()), max_points=max_points)
    if as_json:
        print_json({metric: [point.raw for point in points] for metric, points in found.items()})
        return
    rows = ((metric, point.step, point.value) for metric, points in found.items() for point in points)
    print_table(("metric", "step", "value"), rows)
