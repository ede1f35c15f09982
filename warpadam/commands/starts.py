"""`warpadam starts list | pull`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from warpadam.client import Client
from warpadam.commands.data import Family
from warpadam.commands.output import AsJson, BadInput, Limit, print_json, print_pulled, print_table, saved_as

starts = typer.Typer(help="The weights that a family hands out to begin with.", no_args_is_help=True)


@starts.command("list")
def list_starts(
    family: Family,
    anchor: Annotated[str | None, typer.Option(help="Only those of one architecture and base.")] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List the versions of a family's starts, newest first."""
    with Client() as client:
        found = list(islice(client.starts.list(family, anchor=anchor), limit))
    if as_json:
        print_json([version.raw for version in found])
        return
    rows = (
        (f"{family}@{s.version}", s.anchor, s.round, len(s.jobs), s.warp_version, s.size, s.created_at) for s in found
    )
    columns = ("start", "anchor", "round", "jobs", "with P", "bytes", "created")
    print_table(columns, rows, dispensable=("created", "bytes"))


@starts.command("pull")
def pull_start(
    reference: Annotated[
        str, typer.Argument(metavar="FAMILY[@N]", help="The newest where only FAMILY is named, if it has one anchor.")
    ],
    output: Annotated[Path | None, saved_as("FAMILY-start.safetensors")] = None,
    as_json: AsJson = False,
) -> None:
    """Save a start's weights as a file (safetensors). A transfer that broke off is taken up again.

    \b
    Examples:
    warpadam starts pull patches
    warpadam starts pull patches@3 -o start.safetensors
    """
    family, _, number = reference.partition("@")
    if number and not number.isdecimal():
        raise BadInput(f"a start is named by its number, as in {family}@3: see warpadam starts list {family}")
    path = output or Path(f"{family}-start.safetensors")
    with Client() as client:
        version = int(number) if number else _newest(client, family)
        found = client.starts.get(family, version)
        client.starts.download(family, version, path, progress=True)
    print_pulled(path, as_json, f"start {found.version}", version=found.version, sha256=found.sha256)


def _newest(client: Client, family: str) -> int:
    found = list(islice(client.starts.list(family), 100))
    if not found:
        raise BadInput(f"{family} has no start yet: it grows when a job with init: family succeeds")
    if len({version.anchor for version in found}) > 1:
        raise BadInput(f"{family} has starts of several models: name one, as warpadam starts list {family} shows them")
    return found[0].version
