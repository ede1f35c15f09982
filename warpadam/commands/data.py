"""`warpadam datasets add | list`, `families`, `warps list | pull | push`."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from warpadam.client import Client
from warpadam.commands.output import AsJson, BadInput, Limit, print_json, print_table

datasets = typer.Typer(help="Register and list datasets.", no_args_is_help=True)
warps = typer.Typer(help="The versions of a family's P.", no_args_is_help=True)

Reference = Annotated[
    str, typer.Argument(metavar="FAMILY[@ALIAS or @N]", help="The champion where only FAMILY is named.")
]


@datasets.command("add")
def add_dataset(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file to upload, or a URI that the service can read.")],
    name: Annotated[str | None, typer.Option(help="For people; the file's name where absent.")] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="npz, csv, parquet, images or text; from the file's name where absent."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column of the labels or values (csv, parquet).")] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Part kept for validation; 0.1 where absent.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the draw of that part.")] = None,
    normalize: Annotated[str | None, typer.Option(help="standard: zero mean and unit variance.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a dataset and print its id; with --json also what was understood of it."""
    if "://" not in path and not Path(path).expanduser().is_file():
        raise BadInput(
            f"{path} is a folder: zip it (a folder per class inside) and add the zip"
            if Path(path).expanduser().is_dir()
            else f"there is no file {path}"
        )
    options: dict[str, Any] = {
        "name": name,
        "format": file_format,
        "target": target,
        "val_fraction": val_fraction,
        "split_seed": split_seed,
        "normalize": normalize,
    }
    with Client(timeout_s=600) as client:
        dataset = client.datasets.create(path, **options)
    print_json(dataset) if as_json else typer.echo(dataset["id"])


@datasets.command("list")
def list_datasets(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    with Client() as client:
        found = list(islice(client.datasets.list(), limit))
    if as_json:
        print_json(found)
        return
    rows = ((d["id"], d["state"], d.get("name"), d.get("format"), d.get("size"), d["created_at"]) for d in found)
    print_table(("dataset", "state", "name", "format", "bytes", "created"), rows, dispensable=("created", "bytes"))


def families(limit: Limit = 100, as_json: AsJson = False) -> None:
    """List families."""
    with Client() as client:
        found = list(islice(client.families.list(), limit))
    if as_json:
        print_json(found)
        return
    rows = (
        (f["name"], f.get("champion"), f.get("latest"), f["promotion"], (f.get("learner") or {}).get("accepted"))
        for f in found
    )
    print_table(("family", "champion", "latest", "promotion", "contributions"), rows)


@warps.command("list")
def list_warps(
    family: Annotated[str, typer.Argument(metavar="FAMILY")], limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List the versions of a family's P, newest first."""
    with Client() as client:
        found = list(islice(client.warps.list(family), limit))
    if as_json:
        print_json(found)
        return
    rows = (
        (f"{family}@{w['version']}", w["rule"], len(w["jobs"]), w["steps"], len(w["keys"]), w["size"], w["created_at"])
        for w in found
    )
    print_table(
        ("version", "rule", "jobs", "steps", "axes", "bytes", "created"), rows, dispensable=("created", "bytes")
    )


@warps.command("pull")
def pull_warp(
    reference: Reference,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="FAMILY.safetensors where absent.")] = None,
    as_json: AsJson = False,
) -> None:
    """Save a P as a file for `WarpAdam(model, warp=FILE)`."""
    path = output or Path(f"{reference.partition('@')[0]}.safetensors")
    with Client() as client:
        version = client.warps.get(reference)
        client.warps.download(f"{reference.partition('@')[0]}@{version['version']}", path)
    if as_json:
        print_json({"path": str(path), "version": version["version"], "sha256": version["sha256"]})
    else:
        typer.echo(f"{path}: version {version['version']}, sha256 {version['sha256']}")


@warps.command("push")
def push_warp(
    family: Annotated[str, typer.Argument(metavar="FAMILY")],
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Upload a P as the family's next version."""
    with Client() as client:
        version = client.warps.push(family, file)
    print_json(version) if as_json else typer.echo(f"{family}@{version['version']}")
