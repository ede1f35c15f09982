"""`python -m workers.code.child FD PACKAGE HOME`: the process that runs user code, below a training worker.

Confined before it imports anything large, and before it has read what it is to do; cut off from the network once it has
found its peers, and only then it imports the package. Its last word is how the run ended; then it leaves without ado,
whatever threads the code has left.
"""

import os
import pickle
import signal
import socket
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import service
import warpadam
from workers.code import confine

if TYPE_CHECKING:
    from workers.code.remote import Line
    from workers.plan import Plan

OURS = (service, warpadam)
"""Found now, because the folder that holds them cannot be read later."""


@dataclass(frozen=True)
class Start:
    """What the worker says first. `address`: where the workers of a group find each other."""

    plan: "Plan"
    rank: int
    world: int
    device: str
    address: tuple[str, int]
    patience_s: float
    """So long it waits for them."""
    speaks: bool
    """Whether there is a meta-learner to talk to."""


def main(arguments: list[str]) -> None:
    package, home = Path(arguments[1]), Path(arguments[2])
    confine.die_with_parent(signal.SIGKILL)
    confine.bound()
    confined = ""
    try:
        confine.confine(package, home)
    except confine.CannotConfineError as error:
        confined = str(error)
    line = socket.socket(fileno=int(arguments[0]))
    line.set_inheritable(False)
    with line.makefile("rb") as file:
        start: Start = pickle.load(file)  # from the worker above, whose socket it is
    _told(line, start, package, confined)


def _told(line: socket.socket, start: Start, package: Path, why_not_confined: str) -> None:
    """Runs, and says how it ended."""
    from workers.code.blame import cause_of
    from workers.code.frames import Frame
    from workers.code.remote import Line

    told, code = Line(line), 0
    told.send(Frame("started", {"not_confined": why_not_confined}))
    told.answer("go", wait=True)
    try:
        _run(start, package, told)
    except BaseException as error:
        told.post(cause_of(error, package))
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(start: Start, package: Path, line: "Line") -> None:
    import torch

    from workers.code.frames import Frame
    from workers.code.remote import RemoteExchange
    from workers.exchange import Interrupted, NullExchange
    from workers.group import Group
    from workers.preparing import make_deterministic
    from workers.reporting import NullReporter, Outcome
    from workers.train import train

    device = torch.device(start.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.zeros(1, device=device)  # its driver may want sockets of its own, which there are now
    _meet(start)
    confine.cut_off()
    plan = replace(start.plan, code_folder=str(package))
    make_deterministic(device, int(plan.spec.resources.cpus_per_worker))
    group = Group(start.rank, start.world, device)
    exchange = RemoteExchange(line) if start.speaks else NullExchange()
    try:
        outcome = train(plan, group, line if group.leads else NullReporter(), exchange)
    except Interrupted as interrupted:  # at the very end, where it waited for its version of P
        outcome = Outcome(plan.steps, 0.0, stopped=interrupted.reason)
    if group.leads:
        line.post(outcome)
    else:
        line.send(Frame("done"))


def _meet(start: Start) -> None:
    """Connects the workers of a group, all of them to all, while there is a network."""
    if start.world == 1:
        return
    import torch
    import torch.distributed as dist

    host, port = start.address
    dist.init_process_group(
        "nccl" if start.device != "cpu" else "gloo",
        init_method=f"tcp://{host}:{port}",
        rank=start.rank,
        world_size=start.world,
        timeout=timedelta(seconds=start.patience_s),
    )
    dist.all_reduce(torch.zeros(1, device=start.device))


if __name__ == "__main__":
    main(sys.argv[1:])
