"""`warpadam submit | jobs | show | watch | logs | cancel | pause | resume`."""

import json
import sys
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from warpadam.client import Client
from warpadam.commands.output import AsJson, BadInput, Limit, plain, print_json, print_table
from warpadam.sdk.job import Job
from warpadam.sdk.progress import job_note

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id: job_…")]


def register(app: typer.Typer) -> None:
    for command in (submit, watch, show, cancel, pause, resume, logs):
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

    With --watch it exits with 1 where the job does not succeed.
    """
    spec = _read_spec(file)
    with Client() as client:
        if dry_run:
            found = client.jobs.validate(spec)
            print_json(found) if as_json else _print_validation(found)
            return
        job = client.jobs.create(spec)
        if not follow:
            print_json(job.data) if as_json else typer.echo(job.id)
            return
        _watch(job, as_json)


def _read_spec(file: Path) -> dict[str, Any]:
    """Raises BadInput for what is no description, before the service is asked."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        spec = yaml.safe_load(text)  # JSON is YAML
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date that is none
        raise BadInput(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise BadInput(f"{file} must hold a mapping: a job's description with family, dataset, task and model")
    try:
        json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{file} has a value that JSON has not (a date? quote it): {error}") from error
    return spec


def _print_validation(found: dict[str, Any]) -> None:
    version = found.get("warp_version")
    typer.echo("would be accepted, " + (f"with P version {version}" if version else "without a P"))
    for warning in found.get("warnings", ()):
        where = f"{warning['param']}: " if warning.get("param") else ""
        typer.echo(plain(f"warning: {where}{warning['message']} [{warning['code']}]"))


def watch(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job's progress until it ends. Exits with 1 where it did not succeed."""
    with Client() as client:
        _watch(client.jobs.get(job_id), as_json)


def _watch(job: Job, as_json: bool) -> None:
    job.wait(progress=True, raise_on_failure=False)
    print_json(job.data) if as_json else typer.echo(plain(f"{job.id} {job_note(job)}"))
    if job.state != "succeeded":
        raise typer.Exit(1)


def list_jobs(
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state; given twice: in either.")] = None,
    family: Annotated[str | None, typer.Option(help="Only jobs of this family.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with Client() as client:
        found = list(islice(client.jobs.list(state=state, family=family), limit))
    if as_json:
        print_json([job.data for job in found])
        return
    columns = ("job", "state", "family", "name", "step", "warp", "val_loss", "created")
    print_table(columns, map(_row, found), dispensable=("created", "name", "warp"))


def _row(job: Job) -> tuple[object, ...]:
    progress, spec = job.data.get("progress") or {}, job.data["spec"]
    loss = job.result["final"].get("val_loss") if job.result else None
    steps = f"{progress.get('step') or 0}/{progress.get('of') or '?'}"
    created = job.data["created_at"]
    return job.id, job.state, spec["family"], spec.get("name"), steps, job.warp_version, loss, created


def show(job_id: JobId, as_json: AsJson = False) -> None:
    """Show everything about a job."""
    with Client() as client:
        job = client.jobs.get(job_id)
    if as_json:
        print_json(job.data)
    else:
        typer.echo(yaml.safe_dump(job.data, sort_keys=False, allow_unicode=True).rstrip())


def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job."""
    _act(job_id, "cancel", as_json)


def pause(job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job: it keeps its last checkpoint, and goes on from there."""
    _act(job_id, "pause", as_json)


def resume(job_id: JobId, as_json: AsJson = False) -> None:
    """Put a paused job back into the queue."""
    _act(job_id, "resume", as_json)


def _act(job_id: str, verb: str, as_json: bool) -> None:
    with Client() as client:
        job = getattr(client.jobs.get(job_id), verb)()
    print_json(job.data) if as_json else typer.echo(f"{job.id} {job.state}")


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
            if as_json:
                print_json(record)
            elif events:
                typer.echo(plain(f"{record['created_at']}  {record['type']:<22}{_said(record)}"))
            else:
                typer.echo(plain(record["message"]))


def _said(event: dict[str, Any]) -> str:
    """The event's message; a change of state begins with the new state."""
    state, message = event["data"].get("to"), str(event["message"])
    return f"{state}: {message}" if event["type"] == "job.state" and not message.startswith(str(state)) else message
