"""A missing program skips a test by hand and fails it where everything is required."""

import sys
from pathlib import Path

import pytest

from tests.require import require_module, require_patience, require_program, require_root


def test_what_is_there_is_found() -> None:
    assert require_program("no-such-program", Path(sys.executable).name, "sh")
    require_module("pytest", "it runs this")


@pytest.mark.parametrize(("value", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)])
def test_what_is_missing_skips_or_fails(
    monkeypatch: pytest.MonkeyPatch, value: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("WARPADAM_REQUIRE_ALL", value)
    with pytest.raises(outcome, match="no-such-program or no-other: install it"):
        require_program("no-such-program", "no-other")
    with pytest.raises(outcome, match="no_such_module"):
        require_module("no_such_module", "there is none")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(outcome, match="needs root"):
        require_root()


def test_what_takes_minutes_runs_where_everything_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPADAM_REQUIRE_ALL", "1")
    require_patience()
    monkeypatch.delenv("WARPADAM_REQUIRE_ALL")
    with pytest.raises(pytest.skip.Exception, match="takes minutes"):
        require_patience()
