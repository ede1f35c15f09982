"""Logs that are written while they are rotated: no line is lost or doubled, and no more is kept than is allowed."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.rotation import KEPT, OwnLog, part_of, rotate_large
from service.serve import ray_variables
from service.settings import Settings

BESIDE = """
import sys, threading
from pathlib import Path
from service.rotation import OwnLog

own, over = OwnLog(Path(sys.argv[1]), 61 * 4096, kept=60), threading.Event()

def look():
    while not over.is_set():
        own.look()

thread = threading.Thread(target=look)
thread.start()
for number in range(20_000):
    to = sys.stderr if number % 3 == 0 else sys.stdout
    to.write(f"{number}\\n")
    to.flush()
over.set()
thread.join()
"""
IN_TURN = """
import sys
from pathlib import Path
from service.rotation import OwnLog

own = OwnLog(Path(sys.argv[1]), 4 * 4096)
for number in range(20_000):
    print(number, flush=True)
    own.look()
"""


def write(program: str, path: Path) -> None:
    """Runs it as the supervisor does: both of its outputs are appended to one file."""
    with path.open("ab") as output:
        subprocess.run([sys.executable, "-c", program, str(path)], stdout=output, stderr=output, check=True, timeout=60)


def test_no_line_is_lost(tmp_path: Path) -> None:
    write(BESIDE, tmp_path / "api.log")
    files = list(tmp_path.iterdir())
    assert len(files) >= 3
    found = [int(line) for file in files for line in file.read_text().splitlines()]
    assert sorted(found) == list(range(20_000))


def test_the_newest_lines_stay_within_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    write(IN_TURN, path)
    names = ["api.log", *(f"api.log.{number}" for number in range(1, KEPT + 1))]
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 4 * (4096 + 10)
    found = [int(line) for name in reversed(names) for line in (tmp_path / name).read_text().splitlines()]
    assert found == list(range(found[0], 20_000))


def test_what_is_not_written_here_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    OwnLog(path, 4).look()
    path.write_text("another's")
    OwnLog(path, 4).look()
    assert [file.name for file in tmp_path.iterdir()] == ["api.log"]


@pytest.mark.parametrize(("size", "names"), [(24, ["ray.log"]), (25, ["ray.log.1"])])
def test_what_starts_anew_gets_a_new_file_where_the_old_is_full(tmp_path: Path, size: int, names: list[str]) -> None:
    path = tmp_path / "ray.log"
    path.write_bytes(bytes(size))
    rotate_large(path, 100)
    assert [file.name for file in tmp_path.iterdir()] == names


def test_ray_has_the_same_bound_for_each_of_its_files() -> None:
    settings = Settings(max_service_log_bytes=8 * 2**20)
    variables = ray_variables(settings)
    assert int(variables["RAY_ROTATION_MAX_BYTES"]) == part_of(8 * 2**20) == 2 * 2**20
    assert int(variables["RAY_ROTATION_BACKUP_COUNT"]) == KEPT
