"""`warpadam submit | jobs | show | watch | logs | cancel | pause | resume`."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from warpadam.client import Client
from warpadam.commands.output import AsJson, Limit, print_json, print_table
from warpadam.sdk.errors import WarpAdamError
from warpadam.sdk.job import Job
from warpadam.sdk.progress import job_note

JobId = Annotated[str, typer.Argument(metavar="ID", help="A job's id: job_…")]


def register(app: typer.Typer) -> None:
    for command in (submit, watch, show, cancel, pause, resume, logs):
        app.command()(command)
    app.command("jobs")(list_jobs)


def submit(
    file: Annotated[Path, typer.Argument(help="The job's description, YAML or JSON.", exists=True, dir_okay=False)],
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Wait for its end and show its progress.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it would be accepted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Submit a job."""
    spec = _read_spec(file)
    with Client() as client:
        if dry_run:
            print_json(client.jobs.validate(spec))
            return
        job = client.jobs.create(spec)
        if not follow:
            print_json(job.data) if as_json else typer.echo(job.id)
            return
        _watch(job, as_json)


def _read_spec(file: Path) -> dict[str, Any]:
    try:
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WarpAdamError(f"{file} is neither YAML nor JSON: {error}") from error
    if not isinstance(spec, dict):
        raise WarpAdamError(f"{file} must hold a mapping: a job's description with family, dataset, task and model")
    return spec


def watch(job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job's progress until it ends. Exits with 1 where the job did not succeed."""
    with Client() as client:
        _watch(client.jobs.get(job_id), as_json)


def _watch(job: Job, as_json: bool) -> None:
    job.wait(progress=True, raise_on_failure=False)
    print_json(job.data) if as_json else typer.echo(f"{job.id} {job_note(job)}")
    if job.state != "succeeded":
        raise typer.Exit(1)


def list_jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state.")] = None,
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
    print_table(("job", "state", "family", "name", "step", "warp", "val_loss", "created"), map(_row, found))


def _row(job: Job) -> tuple[object, ...]:
    progress, spec = job.data.get("progress") or {}, job.data["spec"]
    loss = job.result["final"].get("val_loss") if job.result else None
    steps = f"{progress.get('step', 0)}/{progress.get('of', '?')}"
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
    """Pause a job: it keeps its last checkpoint."""
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
    as_json: AsJson = False,
) -> None:
    """Print a job's events."""
    with Client() as client:
        for event in client.jobs.get(job_id).events(follow=follow):
            line = f"{event['created_at']}  {event['type']:<22}{event['message']}"
            print_json(event) if as_json else typer.echo(line)
