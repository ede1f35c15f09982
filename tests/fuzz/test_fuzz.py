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
        ("sqlite_url", False, ("examples", "fuzzing"), 2),
        ("postgres_url", True, ("examples", "fuzzing", "stateful"), 2),
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
