"""The contract of every launcher, and what only child processes do. Programs are real: child_runner.py."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest

from service.processes import end_group, free_port, members
from service.serve import ray_variables
from service.settings import Settings
from workers import spares
from workers.launchers import Ended, Launch, Launcher, LaunchError, ProcessLauncher
from workers.ray_jobs import RayJobsLauncher
from workers.registry import Known, Registry

CHILD = (sys.executable, str(Path(__file__).with_name("child_runner.py")))


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


@dataclass
class Bench:
    """A launcher under test, one more that came after it (a new dispatcher's), and what the programs noted."""

    launcher: Launcher
    successor: Callable[[], Launcher]
    folder: Path

    def notes(self, launch: Launch) -> list[list[int]]:
        path = self.folder / launch.submission_id
        return [[int(word) for word in line.split()] for line in path.read_text().splitlines()] if path.exists() else []

    def launch(self, job: str) -> Launch:
        launch = Launch(job, 1, 7)
        self.launcher.launch(launch)
        until(lambda: self.notes(launch))
        return launch

    def ended(self, launcher: Launcher | None = None) -> list[Ended]:
        found: list[Ended] = []
        until(lambda: found.extend((launcher or self.launcher).ended()) or found)
        return found


@pytest.fixture(scope="module")
def dashboard_url() -> Iterator[str]:
    """A real Ray with its dashboard, which serves the Jobs API, for this file only."""
    folder = Path(tempfile.mkdtemp(prefix="wa", dir="/tmp"))
    port = free_port()
    command = (
        f"start --head --block --node-ip-address=127.0.0.1 --port={free_port()} --include-dashboard=true "
        f"--dashboard-host=127.0.0.1 --dashboard-port={port} --ray-client-server-port={free_port()} --num-cpus=2 "
        # Not the usual one: the session's other Ray has it, and without a port of its own the agent takes no jobs.
        f"--dashboard-agent-listen-port={free_port()} "
        f"--object-store-memory=100000000 --temp-dir={folder} --disable-usage-stats"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_variables(Settings()).items():
            if name != "RAY_AUTH_TOKEN":  # Ray has read this process's already (tests/fixtures/ray.py)
                patch.setenv(name, value)
        with (folder / "start.log").open("wb") as log:
            head = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", *command.split()],
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            end_group(head.pid, 20)
            head.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _process_bench(folder: Path) -> Bench:
    def make() -> ProcessLauncher:
        return ProcessLauncher(folder / "logs", CHILD, {**os.environ, "WA_TEST_FOLDER": str(folder)}, warm=False)

    return Bench(make(), make, folder)


def _ray_bench(folder: Path, url: str) -> Bench:
    def make() -> RayJobsLauncher:
        return RayJobsLauncher(url, {"WA_TEST_FOLDER": str(folder)}, grace_s=1, command=CHILD)

    bench = Bench(make(), make, folder)
    until(lambda: _takes_jobs(bench.launcher), 90)
    return bench


def _takes_jobs(launcher: Launcher) -> bool:
    """It answers before its agent is there, which takes the jobs."""
    assert isinstance(launcher, RayJobsLauncher)
    try:
        launcher.client().submit_job(entrypoint="true")
    except (LaunchError, RuntimeError, ConnectionError):
        return False
    return True


@pytest.fixture(params=["process", pytest.param("ray-jobs", marks=[pytest.mark.slow, pytest.mark.ray])])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "process":
        made = _process_bench(tmp_path)
    else:
        made = _ray_bench(tmp_path, request.getfixturevalue("dashboard_url"))
    yield made
    for path in tmp_path.glob("*-1"):
        end_group(int(path.read_text().split()[0]), 0.0)
    made.launcher.close(grace_s=0.0)


def test_contract(bench: Bench) -> None:
    """Told what it is; started once however often; its end reported once; ended with its group when it is to stop."""
    short, long = bench.launch("exit-0"), bench.launch("sleep")
    assert [note[1] for note in bench.notes(short)] == [7]
    assert [end.submission_id for end in bench.ended()] == [short.submission_id]

    bench.launcher.launch(long)
    heir = bench.successor()
    assert heir.adopt(long) == "watched"
    heir.launch(long)
    assert len(bench.notes(long)) == 1
    assert heir.ended() == []

    heir.stop(long.submission_id, grace_s=5)
    until(lambda: not members(bench.notes(long)[0][0]))
    heir.stop(long.submission_id, grace_s=5)


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Bench]:
    made = _process_bench(tmp_path)
    yield made
    made.launcher.close(grace_s=0.2)


def test_the_exit_code_is_told(local: Bench) -> None:
    failed, killed = local.launch("exit-3"), local.launch("sleep")
    os.kill(local.notes(killed)[0][0], signal.SIGKILL)
    codes: dict[str, int | None] = {}
    until(lambda: codes.update({end.submission_id: end.code for end in local.launcher.ended()}) or len(codes) == 2)
    assert codes == {failed.submission_id: 3, killed.submission_id: -signal.SIGKILL}


def test_a_deaf_program_is_killed_with_its_children(local: Bench) -> None:
    deaf = local.launch("deaf")
    group = local.notes(deaf)[0][0]
    until(lambda: len(members(group)) == 2)
    local.launcher.stop(deaf.submission_id, grace_s=0.2)
    assert members(group) == []


def test_what_a_program_leaves_behind_ends_with_it(local: Bench) -> None:
    deaf = local.launch("deaf")
    group = local.notes(deaf)[0][0]
    until(lambda: len(members(group)) == 2)
    os.kill(group, signal.SIGKILL)
    assert [end.submission_id for end in local.ended()] == [deaf.submission_id]
    assert members(group) == []


def test_output_goes_to_the_attempts_log(local: Bench) -> None:
    local.launch("exit-0")
    local.ended()
    assert (local.folder / "logs" / "exit-0-1.log").read_text() == "runs exit-0\n"


def test_an_adopted_program_is_watched_by_its_pid(local: Bench) -> None:
    sleeper = local.launch("sleep")
    heir = local.successor()
    assert heir.adopt(sleeper) == "watched"
    local.launcher.stop(sleeper.submission_id, grace_s=5)
    assert local.ended(heir) == [Ended(sleeper.submission_id, None)]


def test_a_program_that_died_meanwhile_is_gone_with_its_children(local: Bench) -> None:
    deaf = local.launch("deaf")
    group = local.notes(deaf)[0][0]
    until(lambda: len(members(group)) == 2)
    os.kill(group, signal.SIGKILL)
    until(lambda: len(members(group)) == 1)
    assert isinstance(local.launcher, ProcessLauncher)
    os.waitpid(group, 0)  # as init does where the dispatcher is dead
    assert local.successor().adopt(deaf) == "gone"
    assert members(group) == []


def test_of_a_program_that_nobody_here_started_nothing_is_known(local: Bench) -> None:
    assert local.launcher.adopt(Launch("sleep", 1, 7)) == "unknown"


def test_what_runs_for_nobody_is_ended(local: Bench) -> None:
    kept, orphan = local.launch("sleep"), Launch("sleep", 2, 7)
    local.launcher.launch(orphan)
    until(lambda: local.notes(orphan))
    pids = [local.notes(launch)[0][0] for launch in (kept, orphan)]
    heir = local.successor()
    heir.sweep({kept.submission_id})
    assert [bool(members(pid)) for pid in pids] == [True, False]


def test_what_another_living_dispatcher_looks_after_is_left_to_it(local: Bench) -> None:
    sleeper = local.launch("sleep")
    pid = local.notes(sleeper)[0][0]
    registry = Registry(local.folder / "logs" / "running")
    (entry,) = registry.entries()
    theirs = replace(entry, owner=Known.of(os.getppid()))
    (registry.folder / f"{pid}.json").write_text(json.dumps(asdict(theirs)))
    heir = local.successor()
    assert heir.adopt(sleeper) == "unknown"
    heir.sweep(frozenset())
    assert members(pid)


def test_close_ends_everything(local: Bench) -> None:
    pids = [local.notes(local.launch(job))[0][0] for job in ("sleep", "deaf")]
    local.launcher.close(grace_s=0.3)
    assert [members(pid) for pid in pids] == [[], []]


def test_a_program_that_cannot_start_says_so(tmp_path: Path) -> None:
    launcher = ProcessLauncher(tmp_path, ("/nowhere/python",), warm=False)
    with pytest.raises(LaunchError, match="/nowhere/python"):
        launcher.launch(Launch("job", 1, 1))


class TestWarm:
    @pytest.fixture
    def warm(self, tmp_path: Path) -> Iterator[Bench]:
        made = _process_bench(tmp_path)
        assert isinstance(made.launcher, ProcessLauncher)
        made.launcher.warm = True
        made.launcher.tend(connected=True, may_start=True)
        yield made
        made.launcher.close(grace_s=0.2)

    @staticmethod
    def launcher(bench: Bench) -> ProcessLauncher:
        assert isinstance(bench.launcher, ProcessLauncher)
        return bench.launcher

    def waiting(self, bench: Bench) -> int:
        (pid,) = self.launcher(bench).idle_pids
        return pid

    def test_the_next_job_goes_to_the_waiting_runner(self, warm: Bench) -> None:
        waiting = self.waiting(warm)
        launch = warm.launch("sleep")
        assert warm.notes(launch) == [[waiting, 7]]
        assert self.launcher(warm).idle_pids == []
        assert (warm.folder / "logs" / "sleep-1.log").read_text() == "runs sleep\n"

    def test_it_takes_one_attempt_after_the_other(self, warm: Bench) -> None:
        waiting = self.waiting(warm)
        for job in ("done-a", "done-b"):
            launch = warm.launch(job)
            assert warm.notes(launch) == [[waiting, 7]]
            assert warm.ended() == [Ended(launch.submission_id, 0)]
            assert self.waiting(warm) == waiting
            assert (warm.folder / "logs" / f"{job}-1.log").read_text() == f"runs {job}\n"

    def test_one_that_failed_takes_no_other(self, warm: Bench) -> None:
        launch = warm.launch("exit-3")
        assert warm.ended() == [Ended(launch.submission_id, 3)]
        assert self.launcher(warm).idle_pids == []

    def test_one_that_left_something_behind_takes_no_other(self, warm: Bench) -> None:
        waiting = self.waiting(warm)
        launch = warm.launch("done-litter")
        warm.ended()
        assert warm.notes(launch) == [[waiting, 7]]
        assert self.launcher(warm).idle_pids == []
        assert members(waiting) == []

    def test_one_that_knew_a_ray_that_is_gone_takes_no_other(self, warm: Bench) -> None:
        waiting = self.waiting(warm)
        warm.launch("slow-done")
        warm.launcher.tend(connected=False, may_start=False)
        warm.ended()
        assert self.launcher(warm).idle_pids == []
        assert members(waiting) == []

    def test_without_an_idle_one_a_new_one_is_started(self, warm: Bench) -> None:
        first, second = warm.launch("sleep"), warm.launch("done")
        assert warm.notes(first)[0][0] != warm.notes(second)[0][0]
        warm.ended()
        assert self.launcher(warm).idle_pids == [warm.notes(second)[0][0]]

    def test_only_one_is_kept_for_long(self, warm: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        warm.launch("done-a")
        self.launcher(warm).tend(connected=True, may_start=True)
        warm.ended()
        assert len(self.launcher(warm).idle_pids) == 2
        monkeypatch.setattr(spares, "IDLE_S", 0.0)
        self.launcher(warm).tend(connected=True, may_start=True)
        assert len(self.launcher(warm).idle_pids) == 1

    def test_a_dead_one_is_not_trusted(self, warm: Bench) -> None:
        dead = self.waiting(warm)
        os.kill(dead, signal.SIGKILL)
        until(lambda: not members(dead))
        launch = warm.launch("sleep")
        assert warm.notes(launch)[0][0] != dead

    def test_a_dead_one_is_replaced_after_a_while(self, warm: Bench) -> None:
        dead = self.waiting(warm)
        os.kill(dead, signal.SIGKILL)
        launcher = self.launcher(warm)
        until(lambda: launcher.tend(connected=True, may_start=True) or launcher.idle_pids not in ([dead], []))

    def test_it_goes_when_ray_goes(self, warm: Bench) -> None:
        waiting = self.waiting(warm)
        warm.launcher.tend(connected=False, may_start=False)
        assert members(waiting) == []
        assert list((warm.folder / "logs").glob("warm-*")) == []

    def test_it_ends_with_its_dispatcher(self, warm: Bench) -> None:
        waiting = self.waiting(warm)
        warm.launcher.close(grace_s=0.2)
        assert members(waiting) == []


def test_a_program_that_somebody_stopped_is_ended(tmp_path: Path) -> None:
    launcher = ProcessLauncher(tmp_path, (sys.executable, "-c", "import time; time.sleep(60)"), warm=False, frozen_s=0)
    pid = launcher.launch(Launch("job", 1, 7))
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    found: list[Ended] = []
    until(lambda: found.extend(launcher.ended()) or found)
    assert found == [Ended("job-1", -signal.SIGKILL)]
