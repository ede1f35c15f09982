"""A short run of each kind; `make fuzz` is the long one."""

from pathlib import Path

import pytest

from tests.fuzz.campaign import run
from tests.fuzz.house import serving


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("database", "with_keys", "phases", "cases"),
    [
        ("sqlite_url", False, ("examples", "coverage"), 1),
        ("postgres_url", True, ("examples", "fuzzing", "stateful"), 3),
    ],
)
def test_made_up_requests_find_nothing(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    database: str,
    with_keys: bool,
    phases: tuple[str, ...],
    cases: int,
) -> None:
    url = request.getfixturevalue(database)
    with serving(tmp_path, url, with_keys=with_keys) as served:
        found = run(tmp_path, served, with_keys=with_keys, seed=1, cases=cases, phases=phases)
        assert not found.failed, found.report
        assert "Traceback" not in served.log.read_text()
    assert found.cases > 100


def test_a_defect_is_found(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all of the above would be worth nothing: an answer that the document does not know."""
    monkeypatch.setenv("WARPADAM_FUZZ_DEFECT", "1")
    with serving(tmp_path, sqlite_url, with_keys=False) as served:
        found = run(tmp_path, served, with_keys=False, seed=1, cases=1, phases=("examples",))
    assert found.failed
    assert "Undocumented" in found.report
