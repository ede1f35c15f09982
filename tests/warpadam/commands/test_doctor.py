"""`warpadam doctor` on machines where something is wrong."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.warpadam.commands.test_commands import Said, Type, typed
from tests.warpadam.sdk.served import Served
from warpadam.commands import doctor

__all__ = ["typed"]


@pytest.fixture
def findings(typed: Type, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[Said, dict[str, Any]]]:
    """Without the server's checks, which have tests of their own."""
    monkeypatch.setattr(doctor, "_server", lambda _: iter(()))

    def run() -> tuple[Said, dict[str, Any]]:
        said = typed("doctor", "--json")
        content = json.loads(said.out)
        return said, {each["name"]: each for each in content["checks"]} | {"ok": content["ok"]}

    return run


Findings = Callable[[], tuple[Said, dict[str, Any]]]


def test_nothing_is_wrong_where_no_service_is_wanted(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warpadam.client.DEFAULT_URL", "http://127.0.0.1:9")
    said, found = findings()
    assert (said.code, found["ok"], found["service"]["status"]) == (0, True, "ok")
    assert found["python"]["status"] == "ok"


def test_a_service_that_is_wanted_and_away_is_a_problem(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPADAM_URL", "http://127.0.0.1:9")
    said, found = findings()
    assert (said.code, found["ok"], found["service"]["status"]) == (1, False, "problem")
    assert "warpadam serve" in found["service"]["advice"]


def test_a_service_with_a_part_missing_is_a_problem(
    findings: Findings, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARPADAM_URL", served.url)
    said, found = findings()
    assert said.code == 1
    assert {name: found[name]["status"] for name in ("service", "clock", "key", "its database", "its dispatcher")} == {
        **dict.fromkeys(("service", "clock", "key", "its database"), "ok"),
        "its dispatcher": "problem",
    }


def test_packages_are_compared_with_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==0.1\nhttpx==0.1\nno-such-package==1.0\ncolorama==0.4.6 ; sys_platform == 'win32'\n")
    found = {each.name: each for each in doctor._packages(lock)}
    assert {name: each.status for name, each in found.items()} == {
        "torch": "problem",
        "no-such-package": "problem",
        "packages": "warning",
    }
    assert "httpx" in found["packages"].message
    assert found["torch"].advice == f"{sys.executable} -m pip install -r {lock}"


def test_the_servers_checks_are_asked_for(typed: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_service", lambda: iter(()))
    monkeypatch.setenv("WARPADAM_PORT", "eighty")
    said = typed("doctor", "--data-dir", str(tmp_path))
    assert said.code == 1
    (row,) = (row for row in (line.split("\t") for line in said.out.splitlines()) if row[0] == "problem")
    assert row[1] == "settings"
    assert "WARPADAM_PORT" in row[2]
