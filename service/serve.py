"""`serve`: the whole service on one machine, without any other server.

Three children: a local Ray, the API, the dispatcher. The database is upgraded first. `service.json` in the data folder
says where a running service is; `service.lock` is held until the last of its processes is gone.
"""

import fcntl
import http.client
import json
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.bind import RefusesToStart
from service.db.session import upgrade
from service.processes import free_port
from service.rotation import KEPT, part_of
from service.settings import Settings
from service.starting import check_start
from service.supervisor import Child, Supervisor, with_our_packages

log = logging.getLogger(__name__)

READY_WITHIN_S = 300.0
_RAY_GRACE_S = 10.0
_API_GRACE_S = 5.0
_STOP_MARGIN_S = 10.0


class CannotServeError(Exception):
    """Says why, and what to do."""


@dataclass(frozen=True)
class Options:
    """What the command line adds to the settings."""

    num_cpus: int
    num_gpus: int | None
    object_store_mb: int
    as_json: bool = False
    """Say where the service is in one line of JSON, and nothing else, on standard output."""
    owned: bool = False
    """End where standard input does: whoever started the service holds its other end, however it dies."""


def serve(settings: Settings, options: Options) -> None:
    """Runs until SIGTERM or SIGINT; then nothing that it started is left."""
    try:
        check_start(settings)
    except RefusesToStart as error:
        raise CannotServeError(str(error)) from error
    logs = settings.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with data_folder(settings.data_dir) as lock:
        settings = settings.model_copy(update={"port": choose_port(settings.host, settings.port)})
        state = settings.data_dir / "service.json"
        state.unlink(missing_ok=True)  # of a service that was killed
        upgrade(settings.database)
        ray_port = free_port()
        mark = secrets.token_hex(8)
        folder = Path(tempfile.mkdtemp(prefix="wa-", dir="/tmp"))
        children = _children(settings, options, ray_port, folder)
        supervisor = Supervisor(children, mark=mark, folder=folder, lock=lock, frozen_s=settings.lease_s)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.stop.set())
        if options.owned:
            threading.Thread(target=_end_with_owner, args=(supervisor,), name="owner", daemon=True).start()
        try:
            if _wait_ready(settings, supervisor):
                _announce(settings, f"127.0.0.1:{ray_port}", state, as_json=options.as_json)
                supervisor.run()
        finally:
            state.unlink(missing_ok=True)
            log.info("stopping")
            supervisor.close()
            log.info("stopped")


def _end_with_owner(supervisor: Supervisor) -> None:
    while os.read(0, 4096):
        pass
    log.info("whoever started this service is gone")
    supervisor.stop.set()


def _children(settings: Settings, options: Options, ray_port: int, folder: Path) -> list[Child]:
    """In the order in which they are ended; all start together and wait for each other by themselves."""
    ours = with_our_packages(
        {
            **os.environ,
            "WARPADAM_HOST": settings.host,
            "WARPADAM_PORT": str(settings.port),
            "WARPADAM_DATA_DIR": str(settings.data_dir),
            "WARPADAM_RAY_ADDRESS": f"127.0.0.1:{ray_port}",
            "WARPADAM_LAUNCHER": "process",
            "PYTHONUNBUFFERED": "1",
            **ray_variables(settings),
        }
    )
    logs = settings.data_dir / "logs"
    ray = RayCommand(ray_port, folder, options)
    children = [
        Child("api", lambda: [sys.executable, "-m", "api"], ours, _API_GRACE_S, logs / "api.log"),
        Child(
            "dispatcher",
            lambda: [sys.executable, "-m", "workers"],
            ours,
            settings.grace_s + _STOP_MARGIN_S,
            logs / "dispatcher.log",
        ),
        Child("ray", ray, ray_environment(ours), _RAY_GRACE_S, logs / "ray.log"),
    ]
    for child in children:
        child.most_log_bytes = settings.max_service_log_bytes
    return children


def ray_variables(settings: Settings) -> dict[str, str]:
    """What Ray's processes and their drivers must agree on. Ray's ports listen on all interfaces whatever address it is
    given, so whoever has no token is refused."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # report() waits for this poll: 2 s by default
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else the end waits 30 s for detached actors
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a call after Ray was left must fail, not start or join one by itself
        "RAY_process_group_cleanup_enabled": "1",  # what a worker started, loaders of data say, ends with it
        "RAY_ROTATION_MAX_BYTES": str(part_of(settings.max_service_log_bytes)),  # else half a GB for each log of Ray's
        "RAY_ROTATION_BACKUP_COUNT": str(KEPT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def ray_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Ray's workers get no settings of the service: they hold no credentials."""
    return {name: value for name, value in ours.items() if not name.startswith("WARPADAM_")}


@dataclass
class RayCommand:
    """`ray start --head --block` on a fixed GCS port, so that its address survives a restart, in a new short folder
    each time: what a dead Ray left in its folder slows the next one down."""

    port: int
    folder: Path
    options: Options
    starts: int = 0

    def __call__(self) -> list[str]:
        self.starts += 1
        temporary = self.folder / str(self.starts)
        gpus = [] if self.options.num_gpus is None else [f"--num-gpus={self.options.num_gpus}"]
        return [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
            "--node-ip-address=127.0.0.1",
            f"--port={self.port}",
            f"--ray-client-server-port={free_port()}",
            f"--dashboard-agent-listen-port={free_port()}",
            f"--temp-dir={temporary}",
            "--include-dashboard=false",
            "--disable-usage-stats",
            f"--num-cpus={self.options.num_cpus}",
            f"--object-store-memory={self.options.object_store_mb * 2**20}",
            *gpus,
        ]


@contextmanager
def data_folder(folder: Path) -> Iterator[int]:
    """Holds the data folder's lock; a service that is just ending there is waited for.

    Raises CannotServeError where another one runs on it.
    """
    path = folder / "service.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not _lock(lock):
            pid = path.read_text().strip()
            if pid.isdigit() and _alive(int(pid)):
                raise CannotServeError(
                    f"another service (process {pid}) already runs on {folder}: "
                    "end it, or pass another folder with --data-dir"
                )
            _say("the last service on this folder is still ending: waiting for it")
            time.sleep(0.5)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def choose_port(host: str, port: int) -> int:
    """`port`, or a free one for 0. Raises CannotServeError where it is taken."""
    if port == 0:
        return free_port(host)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotServeError(
                f"cannot listen on {host}:{port} ({error.strerror}): pass another --port, or --port 0 for a free one"
            ) from error
    return port


def _wait_ready(settings: Settings, supervisor: Supervisor) -> bool:
    """Whether all parts answer, which `/readyz` says; False where it was told to stop meanwhile."""
    deadline = time.monotonic() + READY_WITHIN_S
    answer = ""
    while not supervisor.stop.wait(0.1):
        supervisor.tick()
        status, answer = _get(settings, "/readyz")
        if status == 200:
            return True
        if time.monotonic() > deadline:
            logs = settings.data_dir / "logs"
            raise CannotServeError(f"not ready after {READY_WITHIN_S:.0f} s: {answer or 'no answer'}; see {logs}")
    return False


def _get(settings: Settings, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(2000).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def _announce(settings: Settings, ray_address: str, state: Path, *, as_json: bool) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    written = state.with_suffix(".new")
    said = {"url": url, "pid": os.getpid(), "ray_address": ray_address}
    written.write_text(json.dumps(said) + "\n")
    written.replace(state)
    if as_json:
        _say(json.dumps({**said, "data_dir": str(settings.data_dir)}))
        return
    _say(f"WarpAdam is ready at {url}")
    _say(f"  data in   {settings.data_dir}")
    _say(f"  submit    WARPADAM_URL={url} warpadam submit job.yaml --watch")
    _say("  end it    Ctrl-C, or SIGTERM to process " + str(os.getpid()))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
