"""Whatever becomes of the process that measures: the match is finished once or tried again, and nobody is left."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from sqlalchemy.orm import Session

from service import clock, datasets, families, matches, warps
from service.db.models import FamilyMatch
from service.matches import MAX_TRIES, MatchSpec
from service.resolve import Limits
from tests.workers.jobs import House
from warpadam import warpfile
from workers.matching.matcher import Matcher

WAIT_S = 60.0
SLEEPS = "import sys, time; time.sleep(600)"


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(sqlite_url, tmp_path)
    yield built
    built.memory.database.dispose()


def ask(house: House, **fields: object) -> str:
    memory = house.memory
    model = {"arch": "mlp", "hidden": [8]}
    spec = MatchSpec.model_validate({"dataset": {"id": house.dataset}, "task": "regression", "model": model, **fields})
    row = datasets.for_spec(memory.database, memory.storage, memory.settings, "default", spec.dataset)
    return memory.database.write(
        lambda session: matches.submit(session, "default", spec, row, Limits(), clock.now())
    ).id


def matcher(house: House, script: str, **settings: object) -> Matcher:
    changed = house.memory.settings.model_copy(update=settings)
    return Matcher(changed, house.memory.database, [sys.executable, "-c", script])


def found(house: House, match_id: str) -> FamilyMatch:
    with house.memory.database.read() as session:
        return matches.get(session, "default", match_id)


def saying(said: object) -> str:
    return f"print({json.dumps(said)!r})"


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def children() -> list[psutil.Process]:
    """The sleepers among this process's: a session's Ray and databases are its children too."""
    ours = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [each for each in ours if SLEEPS in each.cmdline()]


def test_what_the_process_says_is_written(house: House) -> None:
    good, bad = ask(house), ask(house)
    assert matcher(house, saying({"result": {"axes": 2}})).step(threading.Event())
    assert matcher(house, saying({"failure": {"code": "c", "message": "m"}})).step(threading.Event())
    states = {found(house, each).state: found(house, each) for each in (good, bad)}
    assert states["succeeded"].result == {"axes": 2}
    assert states["failed"].failure == {"code": "c", "message": "m"}
    assert not matcher(house, "").step(threading.Event())


@pytest.mark.parametrize("script", ["print('{')", "raise SystemExit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_process_without_a_word_costs_a_try(house: House, script: str) -> None:
    match_id = ask(house)
    for number in range(1, MAX_TRIES + 1):
        assert found(house, match_id).state == "queued"
        matcher(house, script).step(threading.Event())
        assert found(house, match_id).attempts == number
    failure = found(house, match_id).failure
    assert failure is not None
    assert failure["code"] == "worker_lost"


def test_one_that_takes_too_long_is_ended_and_told(house: House) -> None:
    match_id = ask(house)
    matcher(house, SLEEPS, match_timeout_s=0.3).step(threading.Event())
    failure = found(house, match_id).failure
    assert failure is not None
    assert failure["code"] == "timeout"
    assert "smaller model" in failure["message"]
    assert children() == []


def test_a_stop_gives_it_back_and_leaves_nobody(house: House) -> None:
    match_id, stop = ask(house), threading.Event()
    thread = threading.Thread(target=matcher(house, SLEEPS).run, args=(stop,))
    thread.start()
    wait_until(lambda: bool(children()))
    stop.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    assert (found(house, match_id).state, found(house, match_id).attempts) == ("queued", 0)
    assert children() == []


def test_one_that_another_has_taken_is_let_go(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.matching.matcher.BEAT_S", 0.0)
    monkeypatch.setattr(matches, "renew", lambda *_: False)
    match_id = ask(house)
    matcher(house, SLEEPS).step(threading.Event())
    assert found(house, match_id).state == "running"  # the other's to finish
    assert children() == []


@pytest.mark.parametrize(("seconds", "code"), [(600, 1), (0.01, -signal.SIGALRM)], ids=["left alone", "too late"])
def test_a_process_ends_with_whoever_started_it_and_with_its_time(seconds: float, code: int) -> None:
    script = f"from workers.matching.tether import tie; tie({seconds}); import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        if code == 1:
            child.stdin.close()
        assert child.wait(WAIT_S) == code


def test_the_real_process_measures(house: House) -> None:
    """A model that is large enough for gradients alone: seconds less."""
    matrices = {"input:6": np.eye(6, dtype=np.float32)[::-1].copy()}

    def upload(session: Session) -> None:
        family = families.ensure(session, "default", "turned")
        warps.upload(session, family, warpfile.encode(matrices, warpfile.WarpMetadata()), clock.now())

    memory = house.memory
    memory.database.write(upload)
    match_id = ask(house, model={"arch": "mlp", "hidden": [1200, 1200]})
    variables = {
        "WARPADAM_DATA_DIR": str(memory.settings.data_dir),
        "WARPADAM_DATABASE_URL": memory.settings.database_url,
        "WARPADAM_STORAGE_URL": memory.settings.storage_url,
    }
    Matcher(memory.settings, memory.database, environment=variables).step(threading.Event())
    result = found(house, match_id).result
    assert result is not None, found(house, match_id).failure
    (match,) = result["matches"]
    assert (match["family"], match["covered"]) == ("turned", ["input:6"])
    assert match["score"] == pytest.approx(0, abs=1e-6)  # a permutation does nothing
    assert (result["measured_by"], result["axes"], result["recommendation"]["family"]) == ("gradients", 2, None)
