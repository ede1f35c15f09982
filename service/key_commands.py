"""`python -m service keys … | projects …`: the server's own way to its keys, straight in the database.

Whoever may read the database may do this, so nothing is asked; the audit log says `command`. It works whether the
service runs or not, and the first key can be made no other way where the service wants one to start.
"""

import argparse
import getpass
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from service import clock, keys, projects
from service.access import COMMAND, DEFAULT_PROJECT, SCOPES, Caller
from service.db import key_queries
from service.db.models import ApiKey
from service.db.session import Database, upgrade
from service.errors import ServiceError
from service.limits import Limits
from service.settings import Settings

QUOTAS = tuple(Limits.model_fields)
_UNITS = {"m": 60, "h": 3600, "d": 86400}

Run = Callable[[Settings, argparse.Namespace], int]


class Subparsers(Protocol):
    def add_parser(self, name: str, *, help: str) -> argparse.ArgumentParser: ...


def add_to(commands: Subparsers) -> None:
    """Adds `keys` and `projects` to the commands of `python -m service`."""
    _add_keys(commands.add_parser("keys", help="make, list and revoke keys"))
    _add_projects(commands.add_parser("projects", help="list projects and change what they may have"))


def _add_keys(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True)
    create = verbs.add_parser("create", help="make a key; its secret is shown this once")
    create.add_argument("--project", default=DEFAULT_PROJECT, help=f"whose key it is ({DEFAULT_PROJECT})")
    create.add_argument("--scope", action="append", required=True, choices=SCOPES, help="what it may; several times")
    create.add_argument("--name", default="", help="what people call it")
    create.add_argument("--expires-in", type=_duration, help="such as 90d, 12h or 30m; never where absent")
    list_ = verbs.add_parser("list", help="the keys that were not revoked, newest first")
    list_.add_argument("--project", help="of this project only")
    revoke = verbs.add_parser("revoke", help="from now on the key opens nothing")
    revoke.add_argument("id")
    for verb, run in ((create, _create), (list_, _list), (revoke, _revoke)):
        _finish(verb, run)


def _add_projects(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(required=True)
    set_quota = verbs.add_parser("set-quota", help="give a project limits of its own")
    set_quota.add_argument("project")
    for name in QUOTAS:
        option = f"--{name.replace('_', '-')}"
        set_quota.add_argument(option, type=_quota, default=_ABSENT, metavar="N|none|default")
    for verb, run in ((verbs.add_parser("list", help="projects and their limits"), _projects), (set_quota, _set_quota)):
        _finish(verb, run)


def _finish(parser: argparse.ArgumentParser, run: Run) -> None:
    parser.add_argument("--data-dir", type=Path, help="data folder (~/.warpadam)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=lambda settings, options: _told(run, settings, options))


def _told(run: Run, settings: Settings, options: argparse.Namespace) -> int:
    try:
        return run(settings, options)
    except ServiceError as error:
        sys.stderr.write(f"error: {error.detail}\n")
        return 2


def _create(settings: Settings, options: argparse.Namespace) -> int:
    now = clock.now()
    caller = Caller(options.project, COMMAND, frozenset(SCOPES), _here())
    expires_at = now + options.expires_in if options.expires_in else None
    with _open(settings) as database:
        made = database.write(
            lambda session: keys.create(
                session, caller, name=options.name, scopes=options.scope, expires_at=expires_at, now=now
            )
        )
    if options.json:
        _say(json.dumps({**_shown(made.key), "secret": made.secret}))
        return 0
    sys.stderr.write(f"{made.key.id} of project {made.key.project}. This is the only time that its secret is shown:\n")
    _say(made.secret)
    return 0


def _list(settings: Settings, options: argparse.Namespace) -> int:
    with _open(settings) as database, database.read() as session:
        found = [row for row in keys.all_(session) if options.project in (None, row.project)]
    _say_rows(options, [_shown(row) for row in found])
    return 0


def _revoke(settings: Settings, options: argparse.Namespace) -> int:
    def work(session: Any) -> ApiKey:
        row = keys.find(session, options.id)
        keys.revoke(session, Caller(row.project, COMMAND, address=_here()), row.id, clock.now())
        return row

    with _open(settings) as database:
        row = database.write(work)
    _say(json.dumps({"id": row.id, "revoked": True}) if options.json else f"{row.id} opens nothing any more")
    return 0


def _projects(settings: Settings, options: argparse.Namespace) -> int:
    defaults = Limits.of(settings)
    with _open(settings) as database, database.read() as session:
        found = [(row.name, defaults.with_own(row.limits)) for row in key_queries.projects(session)]
    _say_rows(options, [{"name": name, **limits.model_dump()} for name, limits in found])
    return 0


def _set_quota(settings: Settings, options: argparse.Namespace) -> int:
    given = {name: value for name in QUOTAS if (value := getattr(options, name)) is not _ABSENT}
    if not given:
        sys.stderr.write(f"error: name a limit: {', '.join('--' + name.replace('_', '-') for name in QUOTAS)}\n")
        return 2
    changes = {name: value for name, value in given.items() if value != "default"}
    reset = {name for name, value in given.items() if value == "default"}
    caller = Caller(options.project, COMMAND, address=_here())
    with _open(settings) as database:
        row = database.write(
            lambda session: projects.set_limits(session, caller, changes, reset=reset, now=clock.now())
        )
    _say_rows(options, [{"name": row.name, **Limits.of(settings).with_own(row.limits).model_dump()}])
    return 0


@contextmanager
def _open(settings: Settings) -> Iterator[Database]:
    """The database; a new one of SQLite is made, so that a key can be there before the service first starts."""
    path = make_url(settings.database).database
    if settings.database.startswith("sqlite") and path and not Path(path).exists():
        upgrade(settings.database)
    database = Database(settings.database, settings.database_limits)
    try:
        if not inspect(database.engine).has_table(ApiKey.__tablename__):
            raise ServiceError("the database has no table of keys: bring it to this version with warpadam db upgrade")
        yield database
    finally:
        database.dispose()


def _shown(row: ApiKey) -> dict[str, Any]:
    times = ("created_at", "expires_at", "last_used_at")
    shown = {
        name: value.isoformat(timespec="milliseconds") if (value := getattr(row, name)) else None for name in times
    }
    return {"id": row.id, "project": row.project, "name": row.name, "scopes": row.scopes, **shown}


def _say_rows(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """One line for each row, its fields separated by tabs; `-` for what is not there."""
    if options.json:
        _say(json.dumps(rows))
        return
    for row in rows:
        cells = [",".join(value) if isinstance(value, list) else value for value in row.values()]
        _say("\t".join("-" if cell in (None, "") else _plain(str(cell)) for cell in cells))


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _here() -> str:
    """Who stands at the command line, as far as the system knows."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"[:64]
    except (KeyError, OSError):  # a user id without a name, as in containers
        return socket.gethostname()[:64]


_ABSENT = object()


def _quota(text: str) -> int | str | None:
    if text in ("none", "default"):
        return None if text == "none" else text
    if not text.isascii() or not text.isdigit() or int(text) > 2**53:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: a whole number, none (no limit) or default")
    return int(text)


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,4})([mhd])", text, re.ASCII)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write it as 90d, 12h or 30m")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
