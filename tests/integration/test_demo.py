"""`warpadam demo` as a user runs it, with few steps: every promise of its last line, and nothing left running."""

import hashlib
import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from service.db.models import Job
from service.db.session import Database
from service.processes import marked
from tests.conftest import ROOT
from warpadam.warpfile import decode

COMMAND = [sys.executable, "-m", "warpadam.cli", "demo", "--steps", "20", "--lr", "0.002", "--base-steps", "20"]
WITHIN_S = 420.0  # on a machine that does other things too; alone it takes a minute


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "-o", str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "80"}
    )


def mark_of_service(process: subprocess.Popen[str], announcement: Path) -> str:
    """What every process of the demo's service carries in its environment."""
    deadline = time.monotonic() + WITHIN_S
    while not announcement.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "the service did not start"
        time.sleep(0.1)
    service = psutil.Process(json.loads(announcement.read_text())["pid"])
    marks = {child.environ().get("WARPADAM_MARK") for child in service.children()}
    return str((marks - {None}).pop())


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(480)
def test_the_demo_keeps_its_promises(short_tmp_path: Path) -> None:
    process = start(short_tmp_path)
    try:
        mark = mark_of_service(process, short_tmp_path / "data" / "service.json")
        output, _ = process.communicate(timeout=WITHIN_S)
    finally:
        process.terminate()
        process.wait()
    assert process.returncode == 0, output
    assert marked(mark) == []
    lines = output.splitlines()
    check_result(json.loads(lines[-1]), short_tmp_path)
    assert [
        line for line in lines[:-1] if len(line) > 80 and "--" not in line and str(short_tmp_path) not in line
    ] == []
    assert two_contributors_ran_together(short_tmp_path / "data" / "warpadam.db")


def check_result(result: dict[str, Any], folder: Path) -> None:
    assert list(result) == [
        *("family", "warp_version", "warp_sha256", "contributing_jobs"),
        *("adamw", "warpadam", "steps_ratio", "steps_ratio_with_start", "start_steps", "plot"),
    ]
    assert result["family"] == "stdlib-text"
    assert result["contributing_jobs"] >= 3
    for method in ("adamw", "warpadam"):
        assert set(result[method]) == {"val_loss", "lr", "seconds"}
        assert 0 < result[method]["val_loss"] < 5.6  # log(256): no better than chance
        assert result[method]["lr"] == 0.002
    assert result["steps_ratio"] is None or 1 <= result["steps_ratio"] <= 2
    assert result["steps_ratio_with_start"] is None or 1 <= result["steps_ratio_with_start"] <= 4
    assert result["start_steps"] > 0
    assert Path(result["plot"]).read_bytes().startswith(b"\x89PNG")
    file = (folder / f"{result['family']}.safetensors").read_bytes()
    assert hashlib.sha256(file).hexdigest() == result["warp_sha256"]
    assert decode(file)[1].version == result["warp_version"]


def two_contributors_ran_together(database_file: Path) -> bool:
    database = Database(f"sqlite:///{database_file}")
    with database.read() as session:
        jobs = [job for job in session.scalars(select(Job)) if job.spec["name"].startswith("learn-")]
        spans = sorted((job.started_at, job.finished_at) for job in jobs if job.started_at and job.finished_at)
    database.dispose()
    assert len(spans) >= 3
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))
