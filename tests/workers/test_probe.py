"""What the probe says of the kernel, against what the kernel really does."""

import pytest

from workers import probe
from workers.code import confine


def found(code: str) -> dict[str, probe.Finding]:
    return {each["name"]: each for each in probe.confinement(code)}


def test_the_probe_agrees_with_the_kernel() -> None:
    findings = found("required")
    assert (findings["landlock"]["status"] == "ok") == (confine.version() > 0)


def test_what_does_not_work_matters_where_user_code_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = "raise SystemExit('no such thing here')"
    monkeypatch.setattr(probe, "_TRY", {"landlock": broken, "seccomp": broken})
    assert {name: each["status"] for name, each in found("required").items()} == {
        "landlock": "problem",
        "seccomp": "warning",
    }
    assert {each["status"] for each in found("preferred").values()} == {"warning"}
    off = found("off")["landlock"]
    assert (off["status"], "no such thing here" in off["message"]) == ("ok", True)
