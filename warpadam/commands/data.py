"""`warpadam datasets add | list | show | delete`, `warps list | pull | push | promote`."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from warpadam.client import Client
from warpadam.commands.complete import family_names, references
from warpadam.commands.output import (
    AsJson,
    BadInput,
    Limit,
    print_json,
    print_pulled,
    print_table,
    print_yaml,
    saved_as,
)

datasets = typer.Typer(help="Register and list datasets.", no_args_is_help=True)
warps = typer.Typer(help="The versions of a family's P.", no_args_is_help=True)

Family = Annotated[str, typer.Argument(metavar="FAMILY", autocompletion=family_names)]
DatasetId = Annotated[str, typer.Argument(metavar="ID", help="A dataset's id: ds_…")]
Reference = Annotated[
    str,
    typer.Argument(
        metavar="FAMILY[@ALIAS or @N]", help="The champion where only FAMILY is named.", autocompletion=references
    ),
]


@datasets.command("add")
def add_dataset(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="A file to upload, or a URI that the service can read; a folder of code."),
    ],
    name: Annotated[str | None, typer.Option(help="For people; the file's name where absent.")] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="npz, csv, parquet, images, text or package; from the file's name where absent."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Column of the labels or values (csv, parquet).")] = None,
    val_fraction: Annotated[float | None, typer.Option(help="Part kept for validation; 0.1 where absent.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the draw of that part.")] = None,
    normalize: Annotated[str | None, typer.Option(help="standard: zero mean and unit variance.")] = None,
    config: Annotated[str | None, typer.Option(help="Of a data set of the hub: its configuration.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the hub: train where absent; also train[:10%].")] = None,
    columns: Annotated[str | None, typer.Option(help="Of the hub: the columns to read, separated by commas.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Of the hub, labelled text: bytes of each that count.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register a dataset and print its id; with --json also what was understood of it.

    \b
    Examples:
    warpadam datasets add houses.csv --target price --normalize standard
    warpadam datasets add pets.zip                      # a folder per class
    warpadam datasets add s3://bucket/patches.npz
    warpadam datasets add hf://datasets/stanfordnlp/imdb --split train --max-length 512
    warpadam datasets add mymodels/ --format package    # code: a folder, a zip or a wheel
    """
    is_code = file_format == "package" and Path(path).expanduser().is_dir()
    if "://" not in path and not is_code and not Path(path).expanduser().is_file():
        raise BadInput(
            f"{path} is a folder: zip it (a folder per class inside) and add the zip; code needs --format package"
            if Path(path).expanduser().is_dir()
            else f"there is no file {path}"
        )
    with Client(timeout_s=600) as client:
        dataset = client.datasets.create(
            path,
            name=name,
            format=file_format,
            target=target,
            val_fraction=val_fraction,
            split_seed=split_seed,
            normalize=normalize,
            config=config,
            split=split,
            columns=columns.split(",") if columns else None,
            max_length=max_length,
            progress=True,
        )
    print_json(dataset.raw) if as_json else typer.echo(dataset.id)


@datasets.command("list")
def list_datasets(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    with Client() as client:
        found = list(islice(client.datasets.list(), limit))
    if as_json:
        print_json([dataset.raw for dataset in found])
        return
    rows = ((d.id, d.state, d.name, d.options.get("format"), d.size, d.created_at) for d in found)
    print_table(("dataset", "state", "name", "format", "bytes", "created"), rows, dispensable=("created", "bytes"))


@datasets.command("show")
def show_dataset(dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Show what was understood of a dataset: columns, shapes, types, classes; or why it cannot be used."""
    with Client() as client:
        dataset = client.datasets.get(dataset_id)
    print_json(dataset.raw) if as_json else print_yaml(dataset.raw)


@datasets.command("delete")
def delete_dataset(dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Delete a dataset that no unfinished job needs."""
    with Client() as client:
        client.datasets.delete(dataset_id)
    print_json({"id": dataset_id, "deleted": True}) if as_json else typer.echo(f"{dataset_id} deleted")


@warps.command("list")
def list_warps(family: Family, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the versions of a family's P, newest first."""
    with Client() as client:
        found = list(islice(client.warps.list(family), limit))
    if as_json:
        print_json([version.raw for version in found])
        return
    rows = ((f"{family}@{w.version}", w.rule, len(w.jobs), w.steps, len(w.keys), w.size, w.created_at) for w in found)
    print_table(
        ("version", "rule", "jobs", "steps", "axes", "bytes", "created"), rows, dispensable=("created", "bytes")
    )


@warps.command("pull")
def pull_warp(
    reference: Reference,
    output: Annotated[Path | None, saved_as("FAMILY.safetensors")] = None,
    as_json: AsJson = False,
) -> None:
    """Save a P as a file for `WarpAdam(model, warp=FILE)`. A transfer that broke off is taken up again.

    \b
    Examples:
    warpadam warps pull patches
    warpadam warps pull patches@7 -o p.safetensors
    """
    path = output or Path(f"{reference.partition('@')[0]}.safetensors")
    with Client() as client:
        version = client.warps.get(reference)
        client.warps.download(f"{version.family}@{version.version}", path, progress=True)
    print_pulled(path, as_json, f"version {version.version}", version=version.version, sha256=version.sha256)


@warps.command("push")
def push_warp(
    family: Family,
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    as_json: AsJson = False,
) -> None:
    """Upload a P as the family's next version."""
    with Client() as client:
        version = client.warps.push(family, file)
    print_json(version.raw) if as_json else typer.echo(f"{family}@{version.version}")


@warps.command("promote")
def promote(
    reference: Reference,
    alias: Annotated[str, typer.Option(help="The name that it gets.")] = "champion",
    reason: Annotated[str, typer.Option(help="Kept in the alias's history.")] = "",
    as_json: AsJson = False,
) -> None:
    """Point an alias to a version of P: jobs that ask for it get that version from now on.

    \b
    Examples:
    warpadam warps promote patches@6 --reason "7 was worse on tuesday"
    warpadam warps promote patches@latest --alias stable
    """
    family, _, version = reference.partition("@")
    if not version:
        raise BadInput(f"name the version too, as in {family}@7 or {family}@latest")
    with Client() as client:
        number = client.warps.get(reference).version
        set_to = client.aliases.set(family, alias, number, reason=reason)
    print_json(set_to.raw) if as_json else typer.echo(f"{family}@{alias} is {family}@{set_to.version}")
