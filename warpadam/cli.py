"""The `warpadam` command: how its parts hang together, and how errors are told.

Exit codes: 0 done; 1 the service or the job said no; 2 the command line is wrong; 3 the service is not there;
130 interrupted.
"""

import sys

import typer
from rich.console import Console

from warpadam.commands import data, jobs, server
from warpadam.sdk.errors import ConnectionFailed, WarpAdamError

app = typer.Typer(
    name="warpadam",
    help="Train with a learned gradient map. WARPADAM_URL and WARPADAM_API_KEY say where the service is.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs.register(app)
app.add_typer(data.datasets, name="datasets")
app.command("families")(data.families)
app.add_typer(data.warps, name="warps")
server.register(app)


def main() -> None:
    """Entry point; an expected error becomes one clear line on standard error."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app()
    except ConnectionFailed as error:
        errors.print(f"[bold red]error:[/] {error}")
        sys.exit(3)
    except (WarpAdamError, OSError) as error:
        errors.print("[bold red]error:[/]", str(error), markup=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
