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
from tests.chaos.house import House, until
from tests.chaos.plan import Blow
from tests.chaos.postgres import Postgres

_APPEARS_S = 60.0
"""Who is to be hit may only be starting."""
_ENDED_S = 300.0
"""Who was stopped must have been ended by then."""
_STEPS_S = (3600.0, -3600.0)

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


def _freeze(processes: Iterable[psutil.Process], blow: Blow) -> bool:
    """Stops them, and continues them after a while; or never, and waits until the service has ended them."""
    hit = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            hit.append(process)
    if blow.lasts_s is None:
        until(lambda: not any(_is_there(each) for each in hit), f"{blow.kind}: who was stopped is ended", _ENDED_S)
        return bool(hit)
    time.sleep(blow.lasts_s if hit else 0.0)
    for process in hit:
        with suppress(psutil.NoSuchProcess):
            process.resume()
    return bool(hit)


def _is_there(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _soon(find: Callable[[], list[psutil.Process]]) -> list[psutil.Process]:
    """The first that are found, if any are before long."""
    deadline = time.monotonic() + _APPEARS_S
    while not (found := find()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found[:1]


def busy_runners(house: House) -> list[psutil.Process]:
    """Runners of attempts that the database knows to be alive."""
    try:
        with house.database.read() as session:
            statement = select(Attempt.pid).join(Job, (Job.id == Attempt.job_id) & (Job.attempt == Attempt.number))
            pids = set(session.scalars(statement.where(Job.state.in_(_WITH_ATTEMPT))))
    except DBAPIError:
        return []
    return [process for process in house.children("workers.runner") if process.pid in pids]


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
    time.sleep(blow.lasts_s or 0.0)
    path.unlink()
    return True


def _clock(house: House, blow: Blow) -> bool:
    """The time of day of all Python programs of the service jumps, and later jumps back."""
    lasts_s = blow.lasts_s or 0.0
    house.set_clock(_STEPS_S[int(lasts_s * 1000) % 2])
    time.sleep(lasts_s)
    house.set_clock(0.0)
    return True


def _postgres(how: Callable[[Postgres], None], *, away: bool) -> Callable[[House, Blow], bool]:
    def deal(house: House, blow: Blow) -> bool:
        assert house.postgres is not None
        how(house.postgres)
        time.sleep(blow.lasts_s or 0.0 if away else 0.5)
        house.postgres.come_back()
        return True

    return deal


def _head(house: House, _: Blow) -> bool:
    """The head's whole machine, as it were: the launcher's process and all that it started."""
    heads = house.children("ray.scripts.scripts", "start")
    for head in heads:
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
    return bool(heads)


def _apis(house: House) -> list[psutil.Process]:
    return house.children("-m api")


def _dispatchers(house: House) -> list[psutil.Process]:
    return [process for process in house.children("-m workers") if process.cmdline()[-1] == "workers"]


def _learners(house: House) -> list[psutil.Process]:
    return house.children("ray::FamilyLearner")


def _raylets(house: House) -> list[psutil.Process]:
    return house.children("raylet/raylet")


def _gcs(house: House) -> list[psutil.Process]:
    return house.children("gcs_server")


def _workers(house: House) -> list[psutil.Process]:
    return house.children("ray::", "TrainWorker")


def _killed(find: Callable[[House], list[psutil.Process]]) -> Callable[[House, Blow], bool]:
    return lambda house, _: _kill(_soon(lambda: find(house)))


def _frozen(find: Callable[[House], list[psutil.Process]]) -> Callable[[House, Blow], bool]:
    return lambda house, blow: _freeze(_soon(lambda: find(house)), blow)


_KINDS: dict[str, Callable[[House, Blow], bool]] = {
    "api": _killed(_apis),
    "dispatcher": _killed(_dispatchers),
    "runner": _killed(busy_runners),
    "learner": _killed(_learners),
    "worker": _killed(_workers),
    "raylet": _killed(_raylets),
    "head": _head,
    "warden": _killed(House.wardens),
    "serve": _serve,
    "freeze-api": _frozen(_apis),
    "freeze-dispatcher": _frozen(_dispatchers),
    "freeze-runner": _frozen(busy_runners),
    "freeze-learner": _frozen(_learners),
    "freeze-worker": _frozen(_workers),
    "freeze-raylet": _frozen(_raylets),
    "freeze-gcs": _frozen(_gcs),
    "freeze-serve": _frozen(House.supervisors),
    "disk-full": _disk_full,
    "clock": _clock,
    "postgres": _postgres(Postgres.kill, away=True),
    "postgres-quit": _postgres(Postgres.quit, away=False),
    "refused": _postgres(Postgres.refuse, away=True),
    "freeze-postgres": lambda house, blow: _freeze(house.postgres.processes() if house.postgres else [], blow),
}

STAYING = {
    "supervisor": House.supervisors,
    "API": _apis,
    "dispatcher": _dispatchers,
    "raylet": _raylets,
    "GCS": _gcs,
    "meta-learner": _learners,
    "spare runner": lambda house: house.children("-m workers.runner --wait"),
}
"""What a service consists of while nothing runs."""
