"""What holds for every test: short temporary paths, nothing of the user's environment, unit tests first.

Sockets of Ray and PostgreSQL live under the temporary folder, and a socket's path ends at 104 bytes on macOS and 107 on
Linux. macOS's own TMPDIR alone takes 50 of them, so /tmp is used, before anything else asks for a temporary file.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.require import require_patience

ROOT = Path(__file__).resolve().parents[1]

os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"

# Settings, keys and clusters of whoever runs the tests must not reach them; two variables are for the tests themselves.
_FOR_TESTS = {"WARPADAM_REQUIRE_ALL", "WARPADAM_TEST_DATABASE_URL"}
for _name in list(os.environ):
    if _name.startswith(("WARPADAM_", "RAY_")) and _name not in _FOR_TESTS:
        del os.environ[_name]

pytest_plugins = ["tests.fixtures.database", "tests.fixtures.ray"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Unit tests first, then those on Ray, then integration: what fails fast is seen first. Else the order stays.

    In several processes it is the other way round, so that what takes longest does not begin last; and whatever uses
    the session's Ray stays in one process, because there is one.
    """

    def rank(item: pytest.Item) -> int:
        if "integration" in item.path.relative_to(ROOT).parts:
            return 2
        return 1 if item.get_closest_marker("ray") else 0

    parallel = hasattr(config, "workerinput")
    items.sort(key=rank, reverse=parallel)
    for item in items:
        if "ray_environment" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture of a test that takes minutes is made."""
    if item.get_closest_marker("minutes"):
        require_patience()


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's folder."""
    return ROOT


@pytest.fixture
def short_tmp_path() -> Iterator[Path]:
    """A private folder with a path of a dozen characters, for sockets; gone after the test."""
    folder = tempfile.mkdtemp(prefix="wa", dir="/tmp")
    yield Path(folder)
    shutil.rmtree(folder)
