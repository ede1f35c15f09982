"""What a test needs beyond Python, and what happens where that is missing.

Each function skips the test with its reason, or fails it where WARPADAM_REQUIRE_ALL=1: a machine that promises
everything may not skip in silence. There is no other way to skip in these tests.

Tests marked `minutes` are the one exception the other way round: only where everything is required they run.
"""

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skips the running test, or fails it where everything is required."""
    __tracebackhide__ = True
    if os.environ.get("WARPADAM_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason} (WARPADAM_REQUIRE_ALL=1 turns this skip into a failure)", pytrace=False)
    pytest.skip(reason)


def require_patience() -> None:
    """For tests that take a minute or more on two cores: `make test` alone is to be over in ten."""
    if os.environ.get("WARPADAM_REQUIRE_ALL") != "1":
        pytest.skip("takes minutes: WARPADAM_REQUIRE_ALL=1 make test, which is what CI does, runs it too")


def require_program(*names: str) -> str:
    """Path of the first of these programs that is installed; several names for one program are alternatives."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    missing(f"needs {' or '.join(names)}: install it and put it on PATH")


def require_module(name: str, why: str) -> None:
    """For wheels that do not exist on every platform."""
    if importlib.util.find_spec(name) is None:
        missing(f"needs the Python module {name}: {why}")


def require_root() -> None:
    """For tests that change users, mounts or network namespaces."""
    if os.geteuid() != 0:
        missing("needs root: run it as root, or in a container")
