"""`warpadam serve | demo | db …`: what runs the service, as `python -m service …`; nothing of it is imported here."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from warpadam.commands.output import AsJson

DataDir = Annotated[
    Path | None,
    typer.Option(help="Database, files and logs; WARPADAM_DATA_DIR, or ~/.warpadam, where absent."),
]

database = typer.Typer(help="The service's database.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    app.command()(serve)
    app.command()(demo)
    app.add_typer(database, name="db")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.", min=0, max=65535)] = 8000,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run the service on this machine: API, dispatcher and a local Ray. Ctrl-C or SIGTERM ends all of it."""
    become_service("serve", data_dir, as_json, "--host", host, "--port", str(port))


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the report goes.")] = Path("demo-output"),
    steps: Annotated[int, typer.Option(help="T: the steps that AdamW gets on the held-out domain.", min=20)] = 120,
    rates: Annotated[
        list[float] | None, typer.Option("--lr", help="Learning rates of both methods.", hidden=True)
    ] = None,
    base_steps: Annotated[int | None, typer.Option(help="Steps of the base transformer.", hidden=True, min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Only the last line: one JSON object.")] = False,
) -> None:
    """Run the main job end to end on real text, against a service of its own, and show what P saves."""
    from warpadam.demo.plan import BASE_STEPS, LEARNING_RATES
    from warpadam.demo.run import Sizes, run

    run(output, Sizes(steps, tuple(rates or LEARNING_RATES), base_steps or BASE_STEPS), quiet=as_json)


@database.command("upgrade")
def upgrade(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema."""
    become_service("upgrade", data_dir, as_json)


@database.command("check")
def check(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check that what the database holds fits together: references, files, ledger and P."""
    become_service("check", data_dir, as_json)


@database.command("backup")
def backup(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; warpadam-<time>.tar where absent.")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Copy database and storage into one archive, while they are in use."""
    become_service("backup", data_dir, as_json, *(["--output", str(output)] if output else []))


@database.command("restore")
def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="An archive that db backup wrote.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Put an archive into an empty database and a storage, and bring it to this version's schema."""
    become_service("restore", data_dir, as_json, str(source))


def become_service(command: str, data_dir: Path | None, as_json: bool, *arguments: str) -> None:
    """Replaces this process, so that signals reach the service itself."""
    options = ["--data-dir", str(data_dir)] if data_dir else []
    options += ["--json"] if as_json else []
    os.execv(sys.executable, [sys.executable, "-m", "service", *command.split(), *arguments, *options])
