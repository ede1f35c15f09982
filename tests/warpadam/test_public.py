import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import warpadam

ROOT = Path(__file__).parents[2]


def test_the_public_surface_is_this_list() -> None:
    assert warpadam.__all__ == ["AsyncClient", "Client", "Warp", "WarpAdam"]
    for name in warpadam.__all__:
        assert getattr(warpadam, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Wrap'"):
        getattr(warpadam, "Wrap")  # noqa: B009


def test_the_version_is_the_projects() -> None:
    assert warpadam.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("warpadam", ("torch", "httpx", "numpy")),
        ("warpadam.shapes", ("torch", "httpx", "numpy")),
        ("warpadam.warpfile", ("torch", "httpx")),
        ("warpadam.learn", ("torch", "httpx")),
    ],
)
def test_importing_loads_nothing_heavy(module: str, absent: tuple[str, ...]) -> None:
    program = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"
