"""`python -m tests.fuzz`: thousands of requests that schemathesis makes up, to real services; see docs/security.md.

Each database, with keys and without: a service of its own, from the same seed. Exit code 1 where anything was found.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.postgres import Postgres
from tests.fuzz.campaign import PHASES, run
from tests.fuzz.house import serving


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(2**31), help="of an earlier run, to repeat it")
    parser.add_argument("--cases", type=int, default=60, help="at most, for each call and phase")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="only this one")
    parser.add_argument("--keys", choices=["with", "without"], help="only so")
    options = parser.parse_args()
    found = False
    say(f"seed {options.seed}")
    for database in [options.database] if options.database else ["sqlite", "postgresql"]:
        for keys in [options.keys] if options.keys else ["with", "without"]:
            found |= _fuzz(database, keys == "with", options.seed, options.cases)
    say("it found something, see above" if found else f"nothing found; again: --seed {options.seed}")
    return int(found)


def _fuzz(kind: str, with_keys: bool, seed: int, cases: int) -> bool:
    """Whether anything was found, which is printed."""
    name = f"{kind}, {'with keys' if with_keys else 'without keys'}"
    with _folder() as folder, _database(kind, folder) as url, serving(folder, url, with_keys=with_keys) as served:
        ended = run(folder, served, with_keys=with_keys, seed=seed, cases=cases, phases=PHASES)
        traces = served.log.read_text().count("Traceback")
    say(ended.report if ended.failed else f"{name}: {ended.cases} cases, no failures")
    if traces:
        say(f"{name}: {traces} tracebacks in the service's log")
    return ended.failed or traces > 0


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="wafz", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[str]:
    """A database that the migrations made."""
    from service.db.session import upgrade

    server = Postgres.start(folder) if kind == "postgresql" else None
    url = server.url if server else f"sqlite:///{folder / 'warpadam.db'}"
    try:
        upgrade(url)
        yield url
    finally:
        if server:
            server.stop()


if __name__ == "__main__":
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"  # sockets' paths must be short
    sys.exit(main())
