"""One run of schemathesis against one service: its configuration, its program, and what it found."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.house import ROOT, Served

PHASES = ("examples", "coverage", "fuzzing", "stateful")
KNOWN = 0.7
"""Share of the parameters of paths that name something that is there: most calls then reach their work."""

CONFIG = """
color = false
max-stream-events = 2
continue-on-failure = true
{auth}

[generation]
database = "none"

[phases.stateful]
max-steps = 6

[dictionaries]
{dictionaries}

[parameters]
{parameters}

# No dispatcher runs here, so it is not ready, and 503 is how that is said.
[[operations]]
include-path = "/readyz"
checks = {{not_a_server_error = {{expected-statuses = ["2xx", "4xx", "503"]}}}}
"""
WITH_KEYS = 'auth = {{openapi = {{key = {{bearer = "{secret}"}}}}}}'


@dataclass(frozen=True)
class Found:
    cases: int
    failed: bool
    report: str
    """What schemathesis printed."""


def run(folder: Path, served: Served, *, with_keys: bool, seed: int, cases: int, phases: tuple[str, ...]) -> Found:
    """`cases` for each call and phase; the same seed gives the same cases."""
    config = folder / "schemathesis.toml"
    config.write_text(_config(served, with_keys=with_keys))
    program = Path(sys.executable).with_name("schemathesis")
    how = ["--seed", str(seed), "-n", str(cases), "--phases", ",".join(phases), "--no-color"]
    ended = subprocess.run(
        [program, "--config-file", config, "run", f"{served.url}/openapi.json", *how],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "WARPADAM_FUZZ_OWN_KEY": served.key_id if with_keys else "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    counted = re.search(r"(\d+) generated", ended.stdout)
    return Found(int(counted[1]) if counted else 0, ended.returncode != 0, ended.stdout)


def _config(served: Served, *, with_keys: bool) -> str:
    known = {name: values for name, values in served.known.items() if values}
    return CONFIG.format(
        auth=WITH_KEYS.format(secret=served.secret) if with_keys else "",
        dictionaries="\n".join(f"{name} = {{values = {json.dumps(values)}}}" for name, values in known.items()),
        parameters="\n".join(f'"path.{name}" = {{dictionary = "{name}", probability = {KNOWN}}}' for name in known),
    )
