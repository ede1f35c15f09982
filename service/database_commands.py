"""`python -m service upgrade | check | backup | restore`: what an operator does with the database besides serving it.

Progress goes to standard error, the result to standard output. Exit status: 0 done, 1 problems were found, 2 it could
not be done.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service import clock
from service.settings import Settings

if TYPE_CHECKING:
    from argparse import _SubParsersAction

PROGRESS_S = 1.0


def add_to(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    upgrade = commands.add_parser("upgrade", help="bring the database to the newest schema, with its data")
    check = commands.add_parser("check", help="verify the database: references, files by their sha256, ledgers and P")
    backup = commands.add_parser("backup", help="copy database and storage into one archive while the service runs")
    backup.add_argument("-o", "--output", type=Path, help="the archive; must not exist (warpadam-<time>.tar)")
    restore = commands.add_parser("restore", help="put an archive into an empty database and a storage")
    restore.add_argument("file", type=Path, help="an archive that backup wrote")
    for command, run in ((upgrade, _upgrade), (check, _check), (backup, _backup), (restore, _restore)):
        command.add_argument("--data-dir", type=Path, help="data folder (~/.warpadam)")
        command.add_argument("--json", action="store_true", help="print one JSON object instead of text")
        command.set_defaults(run=run)


class _Told:
    """Says what is being done, at most once a second."""

    def __init__(self) -> None:
        self._next, self._stage = 0.0, ""

    def __call__(self, line: str) -> None:
        stage = line.partition(":")[0]
        if stage != self._stage or time.monotonic() >= self._next:
            self._stage, self._next = stage, time.monotonic() + PROGRESS_S
            sys.stderr.write(f"{line}\n")


def _upgrade(settings: Settings, options: argparse.Namespace) -> int:
    from service.db.session import head, upgrade

    upgrade(settings.database)
    _print(options, {"upgraded": True, "schema": head()}, f"the database has the newest schema, {head()}")
    return 0


def _check(settings: Settings, options: argparse.Namespace) -> int:
    from service.integrity import check

    report = check(settings, _Told())
    looked = ", ".join(f"{count} {name}" for name, count in report.checked.items())
    summary = f"{len(report.problems)} problems found" if report.problems else "all is well"
    _print(options, asdict(report), "\n".join([*report.problems, f"{summary} ({looked})" if looked else summary]))
    return 1 if report.problems else 0


def _backup(settings: Settings, options: argparse.Namespace) -> int:
    from service.backup import BackupError, backup

    target = options.output or Path(f"warpadam-{clock.now():%Y%m%dT%H%M%SZ}.tar")
    try:
        manifest = backup(settings, target, _Told())
    except BackupError as error:
        return _fail(str(error))
    said = {"file": str(target), "files": len(manifest.sha256) - 1, "damaged": manifest.damaged}
    lines = [f"left out, because it is damaged or gone: {path}" for path in manifest.damaged]
    _print(options, said, "\n".join([*lines, f"copied the database and {said['files']} files to {target}"]))
    return 1 if manifest.damaged else 0


def _restore(settings: Settings, options: argparse.Namespace) -> int:
    from service.backup import BackupError, restore

    try:
        manifest = restore(settings, options.file, _Told())
    except BackupError as error:
        return _fail(str(error))
    said = {"created_at": manifest.created_at, "files": len(manifest.sha256) - 1}
    _print(options, said, f"restored the database and {said['files']} files as of {manifest.created_at}: run db check")
    return 0


def _print(options: argparse.Namespace, value: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(value) if options.json else text) + "\n")


def _fail(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2
