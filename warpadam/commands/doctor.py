"""`warpadam doctor`: what is wrong with this machine and its service, and what to do.

Here are the checks that a client can make; those of a server are made by `python -m service.doctor`, where this machine
has it.
"""

import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import metadata
from pathlib import Path

import httpx
import typer

from warpadam.client import Client
from warpadam.commands.output import AsJson, print_json, print_table
from warpadam.commands.server import DataDir
from warpadam.sdk.decode import decode
from warpadam.sdk.errors import ApiError, ConnectionFailed, WarpAdamError
from warpadam.sdk.models import Readiness

_CLOCK_S = 5.0
_SERVER_CHECKS_S = 120.0
_EXACT = ("torch", "ray")
"""Where another version is more than a risk."""


@dataclass(frozen=True)
class Finding:
    name: str
    status: str
    message: str
    advice: str = ""


def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look for what is wrong, and say what to do. Exits with 1 where something is.

    Versions against the lock, disk, memory, ports, database and its schema, storage, Ray, GPUs, clocks; and the service
    at WARPADAM_URL, where one is. It starts nothing, and works without a service.

    \b
    Examples:
    warpadam doctor
    WARPADAM_URL=https://train.example.org warpadam doctor --json
    """
    found = [*_python(), *_packages(_lock()), *_server(data_dir), *_service()]
    is_well = all(finding.status != "problem" for finding in found)
    if as_json:
        print_json({"ok": is_well, "checks": [asdict(finding) for finding in found]})
    else:
        rows = ((each.status, each.name, each.message, each.advice) for each in found)
        print_table(("", "what", "found", "what to do"), rows)
    if not is_well:
        raise typer.Exit(1)


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("python", "ok", f"{version} at {sys.executable}")
    else:
        yield Finding("python", "problem", version, "use 3.11, 3.12 or 3.13: make clean, then make demo PYTHON=…")


def _lock() -> Path | None:
    """The lock file of the checkout that this code runs from; none where only the client is installed."""
    path = Path(__file__).resolve().parents[2] / "requirements.lock"
    return path if path.is_file() else None


def _packages(lock: Path | None) -> Iterator[Finding]:
    from packaging.requirements import Requirement
    from packaging.version import Version

    if lock is None:
        return
    required = [Requirement(line) for line in lock.read_text().splitlines() if line and not line.startswith("#")]
    here = [each for each in required if each.marker is None or each.marker.evaluate()]
    differ = []
    for each in here:
        try:
            has = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            yield Finding(each.name, "problem", f"is not installed; {lock.name} has {each.specifier}", _install(lock))
            continue
        if not each.specifier.contains(Version(has), prereleases=True):
            differ.append(f"{each.name} {has} ({each.specifier})")
            if each.name in _EXACT:
                yield Finding(each.name, "problem", f"is {has}; {lock.name} has {each.specifier}", _install(lock))
    if differ:
        yield Finding("packages", "warning", f"differ from {lock.name}: {', '.join(differ)}", _install(lock))
    else:
        yield Finding("packages", "ok", f"the {len(here)} of {lock.name}, at its versions")


def _install(lock: Path) -> str:
    return f"{sys.executable} -m pip install -r {lock}"


def _server(data_dir: Path | None) -> Iterator[Finding]:
    if importlib.util.find_spec("service") is None:
        yield Finding("server", "ok", "is not installed here: this machine is a client")
        return
    options = ["--data-dir", str(data_dir)] if data_dir else []
    try:
        child = subprocess.run(
            [sys.executable, "-m", "service.doctor", *options],
            capture_output=True,
            text=True,
            timeout=_SERVER_CHECKS_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield Finding(
            "server", "problem", f"its checks took over {_SERVER_CHECKS_S:.0f} s", "look at its disks and Ray"
        )
        return
    for line in child.stdout.splitlines():
        yield Finding(**json.loads(line))
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["no message"])[-1]
        yield Finding("server", "problem", f"its checks ended early: {last}", "check the WARPADAM_* variables")


def _service() -> Iterator[Finding]:
    """The service at WARPADAM_URL: whether it answers, is ready, takes the key, and what time it thinks it is."""
    try:
        with Client(timeout_s=10, tries=1) as client:
            yield from _health(client.base_url)
            yield from _readiness(client)
            yield from _key(client)
    except ConnectionFailed as error:
        is_wanted = "WARPADAM_URL" in os.environ
        advice = "start it (`warpadam serve`), or set WARPADAM_URL to where it is"
        status = "problem" if is_wanted else "ok"
        message = str(error) if is_wanted else "none runs here, and WARPADAM_URL names none"
        yield Finding("service", status, message, advice if is_wanted else "")
    except WarpAdamError as error:
        yield Finding("service", "problem", str(error))


def _health(url: str) -> Iterator[Finding]:
    try:
        answer = httpx.get(f"{url}/healthz", timeout=10)
        date = answer.headers.get("Date")
    except httpx.TransportError as error:
        raise ConnectionFailed(f"No answer from {url} ({error or type(error).__name__}).") from error
    yield Finding("service", "ok" if answer.is_success else "problem", f"{url} answers {answer.status_code}")
    if date is None:
        return
    apart = abs((datetime.now(UTC) - parsedate_to_datetime(date)).total_seconds())
    is_near = apart < _CLOCK_S
    advice = "" if is_near else "set this machine's clock, or the service's, by NTP"
    yield Finding("clock", "ok" if is_near else "problem", f"{apart:.0f} s from the service's", advice)


def _readiness(client: Client) -> Iterator[Finding]:
    try:
        ready = client.ready()
    except ApiError as error:
        if "checks" not in error.content:
            yield Finding("ready", "problem", error.detail, "look at the service's log")
            return
        ready = decode(Readiness, error.content)
    for name, check in ready.checks.items():
        advice = "" if check.ok else "start that part, and look at its log"
        yield Finding(f"its {name}", "ok" if check.ok else "problem", check.message, advice)


def _key(client: Client) -> Iterator[Finding]:
    try:
        client.cluster()
    except ApiError as error:
        yield Finding("key", "problem", str(error), "set WARPADAM_API_KEY to a key of this service")
        return
    has = "WARPADAM_API_KEY" in os.environ
    yield Finding("key", "ok", "is taken" if has else "none is set, and none is needed")
