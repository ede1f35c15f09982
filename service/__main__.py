"""`python -m service serve | upgrade | check | backup | restore | keys | projects`: settings → the command."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from service import database_commands, key_commands
from service.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; its exit status."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    given: dict[str, Any] = {
        name: value for name in ("host", "port", "data_dir") if (value := getattr(options, name, None)) is not None
    }
    if "data_dir" in given:
        given["data_dir"] = given["data_dir"].expanduser().resolve()
    settings = Settings(**given)
    try:
        status: int = options.run(settings, options)
    except OperationalError as error:
        where = make_url(settings.database).render_as_string(hide_password=True)
        return _fail(f"the database {where} does not work: {error.orig}")
    return status


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m service", description="The WarpAdam service and its database.")
    commands = parser.add_subparsers(title="commands", required=True)

    serve = commands.add_parser("serve", help="run the whole service on this machine: a local Ray, API, dispatcher")
    serve.add_argument("--host", help="address to listen on (127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (8000); 0 chooses a free one")
    serve.add_argument("--data-dir", type=Path, help="database, storage and logs (~/.warpadam)")
    serve.add_argument("--num-cpus", type=int, default=os.cpu_count() or 1, help="CPUs for training (all)")
    serve.add_argument("--num-gpus", type=int, help="GPUs for training (all that Ray finds)")
    serve.add_argument("--object-store-mb", type=int, default=256, help="memory that workers share, in MiB (256)")
    serve.set_defaults(run=_serve)
    serve.add_argument("--json", action="store_true", help="say where it is as one line of JSON")
    serve.add_argument("--owned", action="store_true", help="end where standard input does")

    database_commands.add_to(commands)
    key_commands.add_to(commands)
    return parser


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from service.serve import CannotServeError, Options, serve

    try:
        serve(
            settings, Options(options.num_cpus, options.num_gpus, options.object_store_mb, options.json, options.owned)
        )
    except CannotServeError as error:
        return _fail(str(error))
    return 0


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
