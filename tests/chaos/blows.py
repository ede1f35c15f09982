"""How each kind of blow is dealt. Each returns once it is over; where there is nobody to hit it says so with False."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from service.db.models import Attempt, Job
from service.states import JobState
from tests.chaos.house import House
from tests.chaos.plan import Blow

_WITH_ATTEMPT = [state for state in JobState if state.has_attempt]


def deal(house: House, blow: Blow) -> bool:
    """Whether somebody was hit."""
    return _KINDS[blow.kind](house, blow)


def _kill(processes: Iterable[psutil.Process]) -> bool:
    hit = False
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
            hit = True
    return hit


def _freeze(processes: list[psutil.Process], seconds: float) -> bool:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(seconds)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return bool(processes)


def _part(*words: str) -> Callable[[House, Blow], bool]:
    return lambda house, _: _kill(house.children(*words)[:1])


def busy_runners(house: House) -> list[psutil.Process]:
    """Runners of attempts that the database knows to be alive."""
    try:
        with house.database.read() as session:
            statement = select(Attempt.pid).join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
            pids = set(session.scalars(statement.where(Job.state.in_(_WITH_ATTEMPT))))
    except DBAPIError:
        return []
    return [process for process in house.children("workers.runner") if process.pid in pids]


def _runner(house: House, _: Blow) -> bool:
    return _kill(busy_runners(house)[:1])


def _freeze_runner(house: House, blow: Blow) -> bool:
    """Never woken: its lease must run out, and whoever takes it must end it."""
    for process in busy_runners(house)[:1]:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            return True
    return False


def _serve(house: House, _: Blow) -> bool:
    house.kill_serve()
    return True


def _disk_full(house: House, blow: Blow) -> bool:
    if not house.has_disk:
        return False
    path = house.disk / "filler"
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    time.sleep(blow.lasts_s)
    path.unlink()
    return True


def _postgres(house: House, blow: Blow) -> bool:
    assert house.postgres is not None
    house.postgres.kill()
    time.sleep(min(blow.lasts_s, 3.0))
    house.postgres.come_back()
    return True


def _refused(house: House, blow: Blow) -> bool:
    assert house.postgres is not None
    house.postgres.refuse()
    time.sleep(blow.lasts_s)
    house.postgres.come_back()
    return True


def _head(house: House, _: Blow) -> bool:
    """The head's whole machine, as it were: the launcher's process and all that it started."""
    heads = house.children("ray.scripts.scripts", "start")
    for head in heads:
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
    return bool(heads)


_KINDS: dict[str, Callable[[House, Blow], bool]] = {
    "api": _part("-m api"),
    "dispatcher": lambda house, _: _kill(_dispatchers(house)),
    "runner": _runner,
    "learner": _part("ray::FamilyLearner"),
    "worker": _part("ray::", "TrainWorker"),
    "raylet": _part("raylet/raylet"),
    "head": _head,
    "serve": _serve,
    "freeze-runner": _freeze_runner,
    "freeze-dispatcher": lambda house, blow: _freeze(_dispatchers(house), blow.lasts_s),
    "freeze-learner": lambda house, blow: _freeze(house.children("ray::FamilyLearner"), blow.lasts_s),
    "disk-full": _disk_full,
    "postgres": _postgres,
    "refused": _refused,
}


def _dispatchers(house: House) -> list[psutil.Process]:
    return [process for process in house.children("-m workers") if process.cmdline()[-1] == "workers"]
