"""`python -m service.doctor`: what is wrong with this machine as a server, and what to do, as lines of JSON.

Nothing is started, and nothing changed but one small file that is written to the storage and deleted again. A check
that cannot be made is a finding too; none ends the others.
"""

import argparse
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import ValidationError
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from service.db import revision
from service.hub import extras
from service.serve import CannotServeError, choose_port
from service.settings import Settings
from service.storage import Storage
from service.supervisor import with_our_packages

Status = Literal["ok", "warning", "problem"]

_GIB = 2**30
_LITTLE_DISK, _NO_DISK = 5 * _GIB, _GIB // 2
_LITTLE_MEMORY = 2 * _GIB
_FEW_FILES = 1024
_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107
_RAY_SOCKET = "wa-12345678/1/session_2026-01-31_12-00-00_123456_1234567/sockets/plasma_store"
"""Where `serve` lets Ray make its longest socket path, below /tmp."""
_CLOCK_S = 2.0
_PROBE_S = 60.0


@dataclass(frozen=True)
class Finding:
    """`advice` says what to do where it is not ok."""

    name: str
    status: Status
    message: str
    advice: str = ""


Check = Callable[[Settings], Iterator[Finding]]


def examine(settings: Settings, checks: Sequence[Check] | None = None) -> Iterator[Finding]:
    for check in CHECKS if checks is None else checks:
        name = check.__name__.removeprefix("_")
        try:
            yield from check(settings)
        except (OSError, SQLAlchemyError, ValueError, subprocess.SubprocessError) as error:
            yield Finding(name, "problem", f"could not be checked: {' '.join(str(error).split())[:300]}")


def _disk(settings: Settings) -> Iterator[Finding]:
    for folder in dict.fromkeys((_nearest(settings.data_dir), Path("/tmp"))):
        if not os.access(folder, os.W_OK | os.X_OK):
            advice = "give this user the right to write there" + _or_another(folder, settings)
            yield Finding("disk", "problem", f"{folder} is not writable", advice)
            continue
        free = shutil.disk_usage(folder).free
        status: Status = "problem" if free < _NO_DISK else "warning" if free < _LITTLE_DISK else "ok"
        advice = "" if status == "ok" else "make room" + _or_another(folder, settings)
        yield Finding("disk", status, f"{free / _GIB:.1f} GiB free at {folder}", advice)


def _or_another(folder: Path, settings: Settings) -> str:
    return ", or name another folder with --data-dir" if folder == _nearest(settings.data_dir) else ""


def _nearest(folder: Path) -> Path:
    """The folder, or the first above it that exists."""
    folder = folder.expanduser().absolute()
    return next(each for each in (folder, *folder.parents) if each.is_dir())


def _memory(_settings: Settings) -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    status: Status = "ok" if free >= _LITTLE_MEMORY else "warning"
    advice = "" if status == "ok" else "a job of one worker takes about 1 GiB, Ray and the service as much again"
    yield Finding("memory", status, f"{free / _GIB:.1f} GiB available", advice)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    status = "ok" if files == resource.RLIM_INFINITY or files > _FEW_FILES else "warning"
    advice = "" if status == "ok" else "`ulimit -n 65536` before `serve`: Ray and listeners need many"
    yield Finding("open files", status, f"at most {files}", advice)


def _temporary_path(_settings: Settings) -> Iterator[Finding]:
    """Ray's sockets lie below /tmp, and a socket's path has a short end."""
    path = str(Path("/tmp").resolve() / _RAY_SOCKET)
    if len(path) > _LONGEST_SOCKET:
        advice = "let /tmp be no link to a long path"
        yield Finding("temp path", "problem", f"{len(path)} bytes; sockets allow {_LONGEST_SOCKET}", advice)
    else:
        yield Finding("temp path", "ok", f"{len(path)} of {_LONGEST_SOCKET} bytes that a socket allows")


def _port(settings: Settings) -> Iterator[Finding]:
    running = _running(settings)
    if running is not None:
        yield Finding("service", "ok", f"process {running['pid']} serves this data folder at {running['url']}")
        return
    try:
        choose_port(settings.host, settings.port)
    except CannotServeError as error:
        yield Finding("port", "problem", str(error).partition(": pass")[0], "pass another --port, or --port 0")
        return
    yield Finding("port", "ok", f"{settings.host}:{settings.port} is free")


def _running(settings: Settings) -> dict[str, Any] | None:
    """What `serve` says of itself in the data folder, while it lives."""
    try:
        said: dict[str, Any] = json.loads((settings.data_dir / "service.json").read_text())
    except (OSError, ValueError):
        return None
    return said if psutil.pid_exists(said["pid"]) else None


def _database(settings: Settings) -> Iterator[Finding]:
    url = make_url(settings.database)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield Finding("database", "ok", f"{shown} is not there yet: `serve` makes it")
        return
    try:
        found = revision.find(settings.database)
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        advice = "start the database, and check WARPADAM_DATABASE_URL"
        yield Finding("database", "problem", f"{shown} does not answer: {reason[:200]}", advice)
        return
    if found.is_newest:
        yield Finding("database", "ok", f"{shown} has the newest schema, {found.head}")
    elif found.is_known:
        has = found.current or "no tables of this service"
        yield Finding("database", "problem", f"{shown} has {has}, not {found.head}", "run `warpadam db upgrade`")
    else:
        advice = "run the version of WarpAdam that made it, or a newer one"
        yield Finding("database", "problem", f"{shown} has {found.current}, which this version does not know", advice)


def _clock(settings: Settings) -> Iterator[Finding]:
    """Leases and heartbeats compare clocks of several machines."""
    if not settings.database.startswith("postgresql"):
        return
    engine = create_engine(settings.database)
    try:
        with engine.connect() as connection:
            before = time.time()
            there = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
            apart = abs(there - (before + time.time()) / 2)
    finally:
        engine.dispose()
    status: Status = "ok" if apart < _CLOCK_S else "problem"
    yield Finding("clock", status, f"{apart:.1f} s from the database's", "" if status == "ok" else "run NTP on both")


def _storage(settings: Settings) -> Iterator[Finding]:
    is_local = "://" not in settings.storage or settings.storage.startswith("file://")
    folder = Path(settings.storage.removeprefix("file://"))
    shown = re.sub(r"//[^/@]+@", "//…@", settings.storage)
    if is_local and not folder.is_dir():
        writable = os.access(_nearest(folder), os.W_OK)
        advice = "" if writable else "give this user the right to write there, or set WARPADAM_STORAGE_URL"
        what = "is not there yet: it is made on first use" if writable else "cannot be made"
        yield Finding("storage", "ok" if writable else "problem", f"{shown} {what}", advice)
        return
    try:
        storage = Storage(settings.storage)
        data = os.urandom(32)
        stored = storage.put("doctor", data)
        is_good = storage.get(stored.path) == data
        storage.delete(stored.path)
    except Exception as error:  # each file system of fsspec has errors of its own
        advice = "check WARPADAM_STORAGE_URL, its credentials and its rights"
        yield Finding("storage", "problem", f"{shown}: {' '.join(str(error).split())[:200]}", advice)
        return
    said = "can be written, read and deleted" if is_good else "gives back something else than was written"
    yield Finding("storage", "ok" if is_good else "problem", f"{shown} {said}")


def _ray(settings: Settings) -> Iterator[Finding]:
    if not settings.ray_address:
        yield Finding("ray address", "ok", "none is set: `serve` starts a Ray of its own")
        return
    host, _, port = settings.ray_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        advice = "start Ray's head, and set WARPADAM_RAY_ADDRESS to its host:port"
        yield Finding("ray address", "problem", f"{settings.ray_address} does not answer: {error}", advice)
        return
    yield Finding("ray address", "ok", f"{settings.ray_address} answers")


def _extras(settings: Settings) -> Iterator[Finding]:
    """Optional packages: that one is missing is no problem before somebody wants it."""
    for package, extra in extras.EXTRAS.items():
        if not extras.is_here(package):
            advice = f"pip install 'warpadam[{extra}]', where the hub is to be used"
            yield Finding(package, "ok", "is not installed (optional)", advice)
            continue
        yield Finding(package, "ok", f"{metadata.version(package)} is here")
    where = settings.hub_url or "none: WARPADAM_HUB_URL is empty"
    yield Finding("hub", "ok", f"hf:// means {where}")


def _compute(settings: Settings) -> Iterator[Finding]:
    """torch, Ray and GPUs, by a child: this package may load neither, and either may crash."""
    child = subprocess.run(
        [sys.executable, "-m", "workers.probe", settings.ray_address, _code(settings)],
        env=with_our_packages(dict(os.environ)),
        capture_output=True,
        text=True,
        timeout=_PROBE_S,
        check=False,
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("torch and ray", "problem", f"do not load: {last[:300]}", "install from requirements.lock again")
        return
    for line in child.stdout.splitlines():
        yield Finding(**json.loads(line))


def _code(settings: Settings) -> str:
    """How user code is confined here, for the child that tries it; `off` where none is run."""
    return settings.code_confinement if settings.allow_code else "off"


CHECKS: tuple[Check, ...] = (
    *(_disk, _memory, _temporary_path, _port),
    *(_database, _clock, _storage, _ray, _extras, _compute),
)


def _findings(data_dir: Path | None) -> Iterator[Finding]:
    try:
        settings = Settings(data_dir=data_dir.expanduser().resolve()) if data_dir else Settings()
    except ValidationError as error:
        for each in error.errors():
            name = f"WARPADAM_{'_'.join(map(str, each['loc'])).upper()}"
            yield Finding(
                "settings", "problem", f"{name}: {each['msg']}", f"set {name} to something else, or not at all"
            )
        return
    yield from examine(settings)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m service.doctor", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, help="data folder (~/.warpadam)")
    given = parser.parse_args(arguments)
    for finding in _findings(given.data_dir):
        sys.stdout.write(json.dumps(asdict(finding)) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
