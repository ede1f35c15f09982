"""The promises of the house itself: the lock files, the two commands, the Python that they find, what is tracked."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.require import missing, require_program

LARGEST_FILE = 512 * 1024
EXTRAS = {
    "requirements.lock": (),
    "requirements-dev.lock": ("dev",),
    "requirements-bench.lock": ("bench",),
    "requirements-extras.lock": ("gcs", "azure", "huggingface"),
}
LOCKS = list(EXTRAS)


def pins(lock: Path) -> dict[str, list[Requirement]]:
    """Package → its pins; there are several where Python versions need different ones."""
    found: dict[str, list[Requirement]] = {}
    for line in lock.read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_lock_pins_every_direct_dependency_to_a_version_that_pyproject_allows(root: Path, name: str) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    direct = [*project["dependencies"], *(line for extra in EXTRAS[name] for line in optional[extra])]
    pinned = pins(root / name)
    for requirement in map(Requirement, direct):
        locked = pinned.get(canonicalize_name(requirement.name), [])
        assert locked, f"{name} lacks {requirement.name}: run `make lock`"
        for pin in locked:
            version = str(pin.specifier).removeprefix("==")
            assert requirement.specifier.contains(version), f"{name} has {pin}, pyproject wants {requirement}"


@pytest.mark.parametrize("name", LOCKS)
def test_lock_installs_with_any_build_of_torch(root: Path, name: str) -> None:
    text = (root / name).read_text()
    assert "--hash" not in text, "hashes of torch differ between its CPU and CUDA wheels"
    for package, locked in pins(root / name).items():
        assert not package.startswith(("nvidia-", "cuda-", "triton")), f"{package}: torch's own wheel brings it"
        for pin in locked:
            assert re.fullmatch(r"==[^+*,]+", str(pin.specifier)), f"{pin} is not one exact version without local part"


def test_dev_lock_holds_the_same_versions_as_the_others(root: Path) -> None:
    runtime, dev, bench, extras = (pins(root / name) for name in LOCKS)
    assert {name: dev.get(name) for name in {**runtime, **bench}} == {**runtime, **bench}
    assert {name: extras.get(name) for name in runtime} == runtime
    for name in dev.keys() & extras.keys():
        assert {str(pin.specifier) for pin in extras[name]} == {str(pin.specifier) for pin in dev[name]}, name


def test_no_extra_is_in_no_lock(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert {extra for extras in EXTRAS.values() for extra in extras} == set(project["optional-dependencies"])


def test_no_tracked_file_is_large(root: Path) -> None:
    if not (root / ".git").exists():
        missing("needs a git checkout: this folder is none")
    listing = subprocess.run([require_program("git"), "ls-files", "-z"], cwd=root, capture_output=True, check=True)
    files = [root / os.fsdecode(name) for name in listing.stdout.split(b"\0") if name]
    assert files
    assert not [str(file) for file in files if file.is_file() and file.stat().st_size > LARGEST_FILE]


def run_make(root: Path, *arguments: str) -> str:
    command = [require_program("make"), "--no-print-directory", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout


def test_make_lists_its_targets(root: Path) -> None:
    listed = {line.split()[1] for line in run_make(root).splitlines()}
    ours = [
        "test-unit",
        "chaos",
        "soak",
        "fuzz",
        "openapi",
        "bench-convergence",
        "bench-starts",
        "bench-step",
        "bench-api",
    ]
    assert listed == {"help", "demo", "serve", "test", "lint", *ours, "lock", "clean"}


def test_make_demo_and_test_set_up_first(root: Path) -> None:
    assert run_make(root, "-n", "demo").split("\n")[:2] == ["scripts/install runtime", ".venv/bin/warpadam demo"]
    steps = run_make(root, "-n", "test")
    order = ["scripts/install dev", "ruff check", "ruff format", "bin/mypy", "lint-imports", "-m pytest"]
    assert [step for step in order if step in steps] == sorted(order, key=steps.index) == order


def test_ci_runs_the_readmes_command_and_demands_everything(root: Path, tmp_path: Path) -> None:
    write_program(tmp_path / "make", 'echo "make $* WARPADAM_REQUIRE_ALL=$WARPADAM_REQUIRE_ALL"')
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(["sh", ".ci/run"], cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == "make test WARPADAM_REQUIRE_ALL=1\n"


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


class Machine:
    """A PATH with the Pythons that a test puts there and nothing else; each is this Python in a disguise."""

    def __init__(self, root: Path, folder: Path, system: str) -> None:
        self.root, self.folder = root, folder
        write_program(folder / "uname", f"echo {system}")

    def add(self, name: str, version: str = "3.11", *, without: str = "") -> Path:
        path = self.folder / name
        major, minor = version.split(".")
        disguise = f"import sys; sys.version_info = ({major}, {minor}, 0); sys.executable = '{path}'; "
        if without:
            disguise += f"sys.modules['{without}'] = None; "  # importing it now fails, as if it were not installed
        write_program(path, f'exec "{sys.executable}" -c "{disguise}exec(sys.argv[1])" "$2"')
        return path

    def find(self, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.folder), **variables}
        script = self.root / "scripts/find-python"
        return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def linux(root: Path, tmp_path: Path) -> Machine:
    return Machine(root, tmp_path, "Linux")


def test_find_python_prefers_311_then_312(linux: Machine) -> None:
    linux.add("python3", "3.13")
    second = linux.add("python3.12", "3.12")
    assert linux.find().stdout.strip() == str(second)
    first = linux.add("python3.11", "3.11")
    assert linux.find().stdout.strip() == str(first)


def test_find_python_obeys_the_variable_and_looks_no_further(linux: Machine) -> None:
    linux.add("python3.11", "3.11")
    chosen = linux.add("my-python", "3.13")
    assert linux.find(PYTHON=str(chosen)).stdout.strip() == str(chosen)
    refused = linux.find(PYTHON="/no/such/python")
    assert refused.returncode == 1
    assert "PYTHON=/no/such/python is not a program" in refused.stderr


@pytest.mark.parametrize("part", ["ensurepip", "venv"])
def test_find_python_names_the_package_where_environments_cannot_be_made(linux: Machine, part: str) -> None:
    linux.add("python3.12", "3.12", without=part)
    refused = linux.find()
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "apt-get install python3.12-venv" in refused.stderr


def test_find_python_passes_over_what_cannot_be_used(linux: Machine) -> None:
    write_program(linux.folder / "python3.11", "exit 127")  # a version manager's shim without a version behind it
    linux.add("python3.12", "3.12", without="ensurepip")
    good = linux.add("python3.13", "3.13")
    assert linux.find().stdout.strip() == str(good)


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_find_python_refuses_other_versions(linux: Machine, version: str) -> None:
    linux.add("python3", version)
    refused = linux.find()
    assert refused.returncode == 1
    assert f"python3 is Python {version}" in refused.stderr


def test_find_python_names_homebrew_on_macos(root: Path, tmp_path: Path) -> None:
    refused = Machine(root, tmp_path, "Darwin").find()
    assert refused.returncode == 1
    assert "brew install python@3.12" in refused.stderr
