"""Children that are started again, ended in order, and never left behind."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from service.processes import end_group, marked, members, sweep
from service.serve import CannotServeError, choose_port, data_folder
from service.supervisor import FIRST_DELAY_S, HEALTHY_AFTER_S, LAST_DELAY_S, Child, Supervisor, next_delay

WAITS = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Waits for something that other processes do; a failure where it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def supervised(tmp_path: Path, lock: int) -> Iterator[Callable[..., Supervisor]]:
    made: list[Supervisor] = []

    def make(*programs: str, frozen_s: float = 60.0) -> Supervisor:
        children = [
            Child(
                f"child-{n}", lambda p=program: [sys.executable, "-c", p], dict(os.environ), 0.3, tmp_path / f"{n}.log"
            )
            for n, program in enumerate(programs)
        ]
        folder = tmp_path / "temporary"
        folder.mkdir()
        made.append(Supervisor(children, mark=f"test-{os.getpid()}", folder=folder, lock=lock, frozen_s=frozen_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_delays_double_and_start_anew_after_a_healthy_life() -> None:
    delays: list[float] = []
    previous = None
    for _ in range(7):
        previous = next_delay(previous, lived_s=0)
        delays.append(previous)
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    assert next_delay(LAST_DELAY_S, HEALTHY_AFTER_S) == FIRST_DELAY_S


def test_a_dead_child_comes_back(supervised: Callable[..., Supervisor]) -> None:
    supervisor = supervised(WAITS)
    supervisor.tick()
    (child,) = supervisor.children
    assert child.process is not None
    first = child.process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.tick() or child.process is None)
    child.start_at = time.monotonic()
    supervisor.tick()
    assert child.alive
    assert child.process.pid != first


def test_whatever_of_the_service_somebody_stopped_is_ended(supervised: Callable[..., Supervisor]) -> None:
    starts_another = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITS!r}]); {WAITS}"
    supervisor = supervised(starts_another, frozen_s=0.0)
    supervisor.tick()
    (child,) = supervisor.children
    assert child.process is not None
    until(lambda: len(marked(supervisor.mark)) == 2)
    (other,) = {process.pid for process in marked(supervisor.mark)} - {child.process.pid}
    os.kill(other, signal.SIGSTOP)
    until(lambda: supervisor.tick() or not alive(other))
    assert child.alive
    os.kill(child.process.pid, signal.SIGSTOP)
    until(lambda: supervisor.tick() or child.process is None)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_there_always_is_a_warden_that_knows_the_children(
    supervised: Callable[..., Supervisor], number: signal.Signals
) -> None:
    supervisor = supervised(WAITS, frozen_s=0.0)
    supervisor.tick()
    (child,) = supervisor.children
    first = supervisor.warden
    first.send_signal(number)
    until(lambda: supervisor.tick() or supervisor.warden is not first)
    assert supervisor.warden.stdin is not None
    supervisor.warden.stdin.close()  # as if this process were killed
    until(lambda: not child.alive)


def test_close_waits_for_no_warden_that_was_stopped(
    supervised: Callable[..., Supervisor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.supervisor.WARDEN_S", 0.1)
    supervisor = supervised(WAITS)
    supervisor.warden.send_signal(signal.SIGSTOP)
    supervisor.close()
    assert supervisor.warden.returncode == -signal.SIGKILL


def test_close_ends_grandchildren_and_who_does_not_listen(
    supervised: Callable[..., Supervisor], tmp_path: Path
) -> None:
    escaped = (
        f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {WAITS!r}], start_new_session=True); {WAITS}"
    )
    supervisor = supervised(STUBBORN, escaped)
    supervisor.tick()
    until(lambda: "deaf" in (tmp_path / "0.log").read_text() and len(marked(supervisor.mark)) == 3)
    supervisor.close()
    assert marked(supervisor.mark) == []
    assert not (tmp_path / "temporary").exists()
    assert supervisor.warden.returncode == 0


def test_children_end_in_order(supervised: Callable[..., Supervisor], tmp_path: Path) -> None:
    notes = tmp_path / "order"
    tells = textwrap.dedent("""
        import signal, sys, time
        def end(*_):
            open({notes!r}, "a").write({name!r})
            sys.exit()
        signal.signal(signal.SIGTERM, end)
        print("ready", flush=True)
        time.sleep(600)
    """)
    supervisor = supervised(*(tells.format(notes=str(notes), name=name) for name in "abc"))
    supervisor.tick()
    until(lambda: all("ready" in (tmp_path / f"{n}.log").read_text() for n in range(3)))
    for child in supervisor.children:
        child.grace_s = 10
    supervisor.close()
    assert notes.read_text() == "abc"


def test_the_warden_ends_what_a_killed_supervisor_leaves(tmp_path: Path) -> None:
    script = textwrap.dedent(f"""
        import os, pathlib, sys, time
        from service.supervisor import Child, Supervisor
        child = Child("x", lambda: [sys.executable, "-c", {WAITS!r}], dict(os.environ), 1.0, pathlib.Path("child.log"))
        folder = pathlib.Path("temporary"); folder.mkdir()
        lock = os.open("lock", os.O_CREAT)
        supervisor = Supervisor([child], mark="test-warden-{os.getpid()}", folder=folder, lock=lock)
        supervisor.tick()
        print(child.process.pid, supervisor.warden.pid, flush=True)
        time.sleep(600)
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        child, warden = map(int, process.stdout.readline().split())
        process.kill()
    until(lambda: not alive(child) and not alive(warden))
    assert not (tmp_path / "temporary").exists()


def test_ending_a_group_ends_all_of_it() -> None:
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); {WAITS}"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True, stdout=subprocess.PIPE) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"deaf\n"
        assert len(members(leader.pid)) == 2
        assert end_group(leader.pid, grace_s=0.2)
        assert members(leader.pid) == []


def test_a_sweep_takes_only_its_own_mark() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITS], env={**os.environ, "WARPADAM_MARK": f"other-{os.getpid()}"}
    ) as other:
        assert sweep(f"mine-{os.getpid()}") == 0
        assert other.poll() is None
        until(lambda: len(marked(f"other-{os.getpid()}")) == 1)
        assert sweep(f"other-{os.getpid()}") == 1


def test_a_data_folder_has_one_service(tmp_path: Path) -> None:
    refused = pytest.raises(CannotServeError, match=f"process {os.getpid()}.*--data-dir")
    with data_folder(tmp_path), refused, data_folder(tmp_path):
        pass
    with data_folder(tmp_path):
        pass


def test_a_port_in_use_is_said_to_be() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotServeError, match="--port 0"):
            choose_port("127.0.0.1", port)
    assert choose_port("127.0.0.1", 0) > 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_serve_refuses_to_be_reached_from_elsewhere(host: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--host", host, "--data-dir", str(tmp_path / "data")],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "no keys" in ended.stderr
    assert "127.0.0.1" in ended.stderr
    assert not (tmp_path / "data").exists()
