"""`warpadam checkpoints list | pull | push`, and `cluster`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from warpadam.client import Client
from warpadam.commands.jobs import JobId
from warpadam.commands.output import AsJson, Limit, print_json, print_pulled, print_table, saved_as

checkpoints = typer.Typer(help="The weights that jobs leave, and one's own.", no_args_is_help=True)


@checkpoints.command("list")
def list_checkpoints(job_id: JobId, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List a job's checkpoints, newest first."""
    with Client() as client:
        found = list(islice(client.jobs.get(job_id).checkpoints(), limit))
    if as_json:
        print_json([checkpoint.raw for checkpoint in found])
        return
    rows = (
        (c.id, c.step, "best" if c.is_best else None, "last" if c.is_last else None, c.val_loss, c.size, c.created_at)
        for c in found
    )
    columns = ("checkpoint", "step", "best", "last", "val_loss", "bytes", "created")
    print_table(columns, rows, dispensable=("created", "bytes"))


@checkpoints.command("pull")
def pull_checkpoint(
    reference: Annotated[
        str, typer.Argument(metavar="ID[/best or /last or /STEP]", help="The best where only the job is named.")
    ],
    output: Annotated[Path | None, saved_as("ID-best.safetensors")] = None,
    as_json: AsJson = False,
) -> None:
    """Save a job's weights as a file (safetensors). A transfer that broke off is taken up again.

    \b
    Examples:
    warpadam checkpoints pull job_…
    warpadam checkpoints pull job_…/200 -o weights.safetensors
    """
    job_id, _, which = reference.partition("/")
    which = which or "best"
    path = output or Path(f"{job_id}-{which}.safetensors")
    with Client() as client:
        client.jobs.get(job_id).download(path, checkpoint=which, progress=True)
    print_pulled(path, as_json)


@checkpoints.command("push")
def push_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)], as_json: AsJson = False
) -> None:
    """Upload a base model's weights (safetensors) and print the id for a job's `init: {checkpoint: ID}`."""
    with Client() as client:
        checkpoint = client.checkpoints.upload(file, progress=True)
    print_json(checkpoint.raw) if as_json else typer.echo(checkpoint.id)


def cluster(as_json: AsJson = False) -> None:
    """Show the cluster's nodes, and what waits and runs."""
    with Client() as client:
        found = client.cluster()
    if as_json:
        print_json(found.raw)
        return
    rows = ((node.id, "alive" if node.alive else "dead", node.cpus, node.gpus) for node in found.nodes)
    print_table(("node", "state", "cpus", "gpus"), rows)
    waiting, running = found.queue.get("queued", 0), found.queue.get("running", 0)
    typer.echo(
        f"{found.used_cpus:g} of {found.cpus:g} CPUs and {found.used_gpus:g} of {found.gpus:g} GPUs in use; "
        f"{waiting} queued, {running} running",
        err=True,
    )
