"""The `warpadam` command: how its parts hang together, and how errors are told.

Exit codes: 0 done; 1 the job did not succeed, the service said no, or a file could not be written; 2 the command line,
or a file that it names, is wrong; 3 no service answers; 4 what was named is not there; 5 the key does not allow it;
6 the service cannot at present; 130 interrupted.
"""

import sys

import typer

from warpadam.commands import checkpoints, data, doctor, families, jobs, keys, server, starts
from warpadam.commands.output import BadInput
from warpadam.sdk.errors import (
    AuthenticationError,
    ConnectionFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    WarpAdamError,
)

FAILED, WRONG_INPUT, NO_SERVICE, NOT_FOUND, NOT_ALLOWED, TRY_LATER, INTERRUPTED = 1, 2, 3, 4, 5, 6, 130
EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (BadInput, WRONG_INPUT),
    (ConnectionFailed, NO_SERVICE),
    (NotFound, NOT_FOUND),
    (AuthenticationError, NOT_ALLOWED),
    (PermissionDenied, NOT_ALLOWED),
    (RateLimited, TRY_LATER),
    (ServerError, TRY_LATER),
    (WarpAdamError, FAILED),
    (OSError, FAILED),
)

app = typer.Typer(
    name="warpadam",
    help="Train with a learned gradient map. WARPADAM_URL and WARPADAM_API_KEY say where the service is "
    "(http://127.0.0.1:8000 where absent). Exits with 0: done; 1: the job did not succeed, or the service said no; "
    "2: the command line is wrong; 3: no service answers; 4: not found; 5: not allowed; 6: try again later. "
    "--install-completion teaches your shell the commands, jobs and families.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
jobs.register(app)
app.add_typer(data.datasets, name="datasets")
app.add_typer(families.families, name="families")
app.add_typer(data.warps, name="warps")
app.add_typer(starts.starts, name="starts")
app.add_typer(checkpoints.checkpoints, name="checkpoints")
app.command("cluster")(checkpoints.cluster)
server.register(app)
app.add_typer(keys.keys, name="keys")
app.add_typer(keys.projects, name="projects")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Entry point; an expected error becomes one clear line on standard error."""
    try:
        app(prog_name="warpadam")
    except tuple(kind for kind, _ in EXIT_CODES) as error:
        _end(error, next(code for kind, code in EXIT_CODES if isinstance(error, kind)))
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
