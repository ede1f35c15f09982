"""The report: JSON for programs, Markdown for people."""

import math
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.api.numbers import Measured


def machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "at": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def as_json(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """Numbers that are none are null: JSON has no word for them."""
    return [{**asdict(each), "value": each.value if math.isfinite(each.value) else None} for each in found]


def markdown(report: dict[str, Any], sections: dict[str, dict[str, Sequence[Measured]]]) -> str:
    """One part for each database, one table for each section."""
    began, ended = report["machine"], report["machine_at_the_end"]
    lines = [
        "# What the API does under load",
        "",
        f"Made by `make bench-api` on {began['system']}, {began['cores']} cores, Python {began['python']}, at "
        f"{began['at']} UTC. Load when it began {began['load']}, when it ended {ended['load']}: above the number of "
        "cores the processor had others to serve, and times say more about them than about the API. Client, server, "
        "database and nginx share the machine; the two sides of a ratio are measured in turns, and the median is told.",
        "",
    ]
    for kind, parts in sections.items():
        lines += [f"## {kind}", "", f"{report['databases'][kind]}", ""]
        for name, found in parts.items():
            lines += [
                f"### {name}",
                "",
                "| what | value | goal | |",
                "| --- | --- | --- | --- |",
                *map(_row, found),
                "",
            ]
    return "\n".join(lines)


def _row(each: Measured) -> str:
    reached = {None: "", True: "reached", False: "**missed**"}[each.reached]
    value = "–" if not math.isfinite(each.value) else f"{_digits(each.value)} {each.unit}"
    return f"| {each.what} | {value} | {each.goal or ''} | {'; '.join(x for x in (reached, each.note) if x)} |"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write(folder: Path, report: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "api.json").write_text(report + "\n")
    (folder / "api.md").write_text(text)
