"""What commands print: tables for people in a terminal, tab-separated lines in a pipe, JSON with `--json`.

Names and messages come from anybody who may submit jobs, so control characters in them never reach the terminal.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many rows.")]


class BadInput(Exception):
    """What was typed, or the file that it names, is wrong; nothing was asked of the service."""


def print_json(value: object) -> None:
    """One JSON value on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def saved_as(name: str) -> Any:
    """The option of a command that saves a file, under this name where none is given."""
    return typer.Option("-o", "--output", help=f"{name} where absent.")


def print_pulled(path: Path, as_json: bool, what: str = "", **told: object) -> None:
    """Where a file is now, and what it is; `told` are facts for programs."""
    if as_json:
        print_json({"path": str(path), **told})
    else:
        typer.echo(f"{path}: {what}, sha256 {told['sha256']}" if what else str(path))


def print_yaml(value: object) -> None:
    """Everything, for people."""
    typer.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, dispensable: Sequence[str] = ()) -> None:
    """In a terminal too narrow for all columns the dispensable ones are left out, in their order."""
    console = Console(markup=False, emoji=False, highlight=False)
    cells = [[_cell(value) for value in row] for row in rows]
    if not console.is_terminal:
        for row in cells:
            typer.echo("\t".join(row))
        return
    left_out: set[str] = set()
    for name in ("", *dispensable):
        left_out.add(name)
        table = _table(columns, cells, left_out)
        if Measurement.get(console, console.options.update(width=10_000), table).maximum <= console.width:
            break
    console.print(table)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], left_out: set[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    shown = [index for index, name in enumerate(columns) if name not in left_out]
    for index in shown:
        table.add_column(columns[index], overflow="fold")
    for row in rows:
        table.add_row(*(row[index] for index in shown))
    return table


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return rfc3339(value)
    return f"{value:.4f}" if isinstance(value, float) else plain(str(value))


def rfc3339(time: datetime) -> str:
    """As the API writes it."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(text: str) -> str:
    """The text on one line, without control characters."""
    return "".join(character if character.isprintable() else " " for character in text)
