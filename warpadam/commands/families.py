"""`warpadam families`, and `families match`."""

from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from warpadam.client import Client
from warpadam.commands.complete import family_names
from warpadam.commands.describing import read_spec
from warpadam.commands.output import AsJson, Limit, plain, print_json, print_table
from warpadam.sdk.matching import MatchResult, Score

families = typer.Typer(help="List families; find the one whose P suits some data.", invoke_without_command=True)

OF_A_JOB = ("dataset", "task", "model", "init")
"""What a match takes of a job's description; and of its training the size of a batch and the seed."""
OF_A_MATCH = (*OF_A_JOB, "families", "limit", "batch_size", "seed")


@families.callback()
def list_families(context: typer.Context, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List families; `match` finds the one whose P suits some data."""
    if context.invoked_subcommand is not None:
        return
    with Client() as client:
        found = list(islice(client.families.list(), limit))
    if as_json:
        print_json([family.raw for family in found])
        return
    rows = ((f.name, f.champion, f.latest, f.promotion, f.learner.accepted) for f in found)
    print_table(("family", "champion", "latest", "promotion", "contributions"), rows)


@families.command("match")
def match(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A job's description, YAML or JSON; - for stdin.")],
    family: Annotated[
        list[str] | None,
        typer.Option("--family", "-f", help="Only this one; twice: either.", autocompletion=family_names),
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, max=20, help="At most so many.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure which families' P suit the data and the model that FILE describes, and say which to use.

    FILE may be a job's description: dataset, task, model, init, batch size and seed count. A worker trains a little
    without P, with a basis from the data itself, and with the P of each family whose axes the model has.

    \b
    Examples:
    warpadam families match job.yaml
    warpadam families match job.yaml --family prices --family rents --json
    """
    with Client() as client:
        found = client.families.match(_asked(read_spec(file), family, limit)).wait()
    if as_json:
        print_json(found.raw)
    elif found.result is not None:
        _print(found.result)


def _asked(described: dict[str, Any], families: list[str] | None, limit: int | None) -> dict[str, Any]:
    training = described.get("training")
    given = {name: described[name] for name in OF_A_MATCH if name in described}
    if isinstance(training, dict):
        given |= {name: training[name] for name in ("batch_size", "seed") if training.get(name) is not None}
    return given | ({"families": families} if families else {}) | ({"limit": limit} if limit else {})


def _print(result: MatchResult) -> None:
    baselines: list[tuple[str, Score]] = [("(none)", result.baselines.none)]
    if result.baselines.data is not None:
        baselines.insert(0, ("(data)", result.baselines.data))
    rows: list[tuple[str, Score, str | None]] = [
        (f"{each.family}@{each.version}", each, f"{len(each.covered)}/{result.axes}") for each in result.matches
    ]
    rows += [(name, score, None) for name, score in baselines]
    columns = ("family", "score", "+-", "diagonal", "val_loss", "lr", "axes")
    print_table(
        columns,
        [(name, s.score, s.stderr, s.diagonal, s.val_loss, s.lr, axes) for name, s, axes in rows],
        dispensable=("lr", "axes"),
    )
    for each in result.unsuitable:
        typer.echo(plain(f"{each.family}: {each.reason} [{each.code}]"), err=True)
    typer.echo(plain(f"{_use(result)}: {result.recommendation.reason}"), err=True)


def _use(result: MatchResult) -> str:
    advice = result.recommendation
    return f"family: {advice.family}" if advice.warp == "family" else f"warp: {advice.warp}"
