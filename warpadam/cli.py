"""The `warpadam` command: how its parts hang together, and how errors are told.

Exit codes: 0 done; 1 the service or the job said no, or a file could not be written; 2 the command line, or a file that
it names, is wrong; 3 no service answers; 130 interrupted.
"""

import sys

import typer

from warpadam.commands import data, jobs, keys, server
from warpadam.commands.output import BadInput
from warpadam.sdk.errors import ConnectionFailed, WarpAdamError

FAILED, WRONG_INPUT, NO_SERVICE, INTERRUPTED = 1, 2, 3, 130

app = typer.Typer(
    name="warpadam",
    help="Train with a learned gradient map. WARPADAM_URL and WARPADAM_API_KEY say where the service is "
    "(http://127.0.0.1:8000 where absent). Exits with 0: done; 1: the service or the job said no; "
    "2: the command line is wrong; 3: no service answers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs.register(app)
app.add_typer(data.datasets, name="datasets")
app.command("families")(data.families)
app.add_typer(data.warps, name="warps")
server.register(app)
app.add_typer(keys.keys, name="keys")
app.add_typer(keys.projects, name="projects")


def main() -> None:
    """Entry point; an expected error becomes one clear line on standard error."""
    try:
        app(prog_name="warpadam")
    except BadInput as error:
        _end(error, WRONG_INPUT)
    except ConnectionFailed as error:
        _end(error, NO_SERVICE)
    except (WarpAdamError, OSError) as error:
        _end(error, FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _end(error: Exception, code: int) -> None:
    is_of_file = isinstance(error, OSError) and error.strerror and error.filename
    text = f"{error.filename}: {error.strerror}" if is_of_file and isinstance(error, OSError) else str(error)
    typer.secho("error: ", err=True, nl=False, fg="red", bold=True)
    typer.echo(text, err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
