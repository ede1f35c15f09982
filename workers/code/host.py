"""The training worker of a job with user code: it starts the process that runs the code, and leaves nothing of it.

The process never has this job's token, nor anything else by which it could be taken for its worker (`below`).
"""

import hashlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from service.data import DataError, packages
from service.processes import free_port
from workers.code import confine
from workers.code.below import LEAVE_S, Below, Listener
from workers.code.child import Start
from workers.exchange import Exchange, NullExchange
from workers.failures import BadInputError, Cause, TrainingError
from workers.group import Group
from workers.mailbox import Ended
from workers.plan import Plan
from workers.scratch import scratch

SEND_S = 60.0
"""A process that does not take what it is told within this is stuck."""
OTHERS_S = 3.0
"""Who lost a peer waits this long before he says so: the peer's own word goes before his."""
PEERS_S = 300
"""So long it waits for the others to find each other."""


def run(plan: Plan, group: Group, reporter: Listener, exchange: Exchange, device: str = "cpu") -> None:
    """Trains the plan in a process below, and posts how it ended. Collective over the group's workers.

    Raises TrainingError, whose cause is the code's failure where the code failed.
    """
    address = group.share(_meeting_place(group.world) if group.leads else ("", 0))
    data = _package(plan)
    told = replace(plan, package=None, token=0)
    start = Start(told, group.rank, group.world, device, address, PEERS_S, not isinstance(exchange, NullExchange))
    with scratch() as folder:
        package, home = folder / "package", folder / "home"
        for each in (package, home):
            each.mkdir()
        _unpack(data, package)
        with confine.adopting(), _started(package, home) as (process, line, output):
            below = Below(plan, group, reporter, exchange, process, line, output)
            try:
                ending = below.serve(start)
            finally:
                below.close()
    if isinstance(ending, Cause):
        if ending.category == "infrastructure" and group.world > 1:
            time.sleep(OTHERS_S)
        raise _raised(ending)
    if ending is not None:
        reporter.post(Ended(ending))


def _meeting_place(world: int) -> tuple[str, int]:
    if world == 1:
        return "", 0
    import ray.util

    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]  # Ray's is not typed
    return address, free_port(address)


def _package(plan: Plan) -> bytes:
    """The package that was pinned at submit. BadInputError where what came is another."""
    data = plan.package or b""
    if hashlib.sha256(data).hexdigest() != plan.model["package"]:
        raise BadInputError("The package of the job's code is not the one that was submitted: submit the job again.")
    return data


def _unpack(data: bytes, folder: Path) -> None:
    try:
        packages.unpack(data, folder)
    except DataError as error:
        raise BadInputError(str(error)) from error


@contextmanager
def _started(package: Path, home: Path) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket, int]]:
    """The process, our end of its line, and what it prints; afterwards nothing of it is left."""
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    line, theirs = socket.socketpair()
    output, printing = os.pipe()
    os.set_blocking(output, False)
    line.settimeout(SEND_S)
    ours = Path(__file__).resolve().parents[2]
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers.code.child", str(theirs.fileno()), str(package), str(home)],
            stdin=subprocess.DEVNULL,
            stdout=printing,
            stderr=printing,
            cwd=home,
            env=confine.environment(home, ours),
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        os.close(printing)
        try:
            yield process, line, output
        finally:
            _end(process, before)
    finally:
        line.close()
        os.close(output)


def _end(process: "subprocess.Popen[bytes]", before: set[int]) -> None:
    """The process and all that came from it, whatever group it went into."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.2)
    for _ in range(5):  # who forks meanwhile is found at the next look
        left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        for child in left:
            with suppress(psutil.Error):
                child.kill()
        process.poll()
        for child in left:
            with suppress(psutil.Error, ChildProcessError):
                child.wait(LEAVE_S)
        if not left:
            break


def _raised(cause: Cause) -> TrainingError:
    error = TrainingError(cause.message)
    error.category, error.code = cause.category, cause.code
    return error
