"""An attempt of a job with code, as far as it gets without Ray: what is read for it, and what is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.db.models import Dataset
from tests.workers.code.packed import NET, packed
from tests.workers.jobs import House
from workers.loading import load
from workers.reporting import Printed
from workers.runner import RECORDED, Runner


@pytest.fixture
def house(sqlite_url: str, tmp_path: Path) -> Iterator[House]:
    built = House.build(sqlite_url, tmp_path)
    yield built
    built.memory.database.dispose()


def test_a_plan_carries_the_pinned_package(house: House) -> None:
    package = house.package({"net.py": NET})
    plan = load(house.memory, house.start(model={"entrypoint": "net:build", "package": package}))
    assert plan.package == packed({"net.py": NET})
    assert (plan.runs_code, plan.code_folder, plan.confinement) == (True, None, "preferred")
    assert load(house.memory, house.start()).package is None


def test_code_that_was_switched_off_meanwhile_does_not_run(sqlite_url: str, house: House, tmp_path: Path) -> None:
    package = house.package({"net.py": NET})
    fence = house.start(model={"entrypoint": "net:build", "package": package})
    off = House.build(sqlite_url, tmp_path, allow_code=False)
    assert Runner(off.memory, fence).run() == RECORDED
    off.memory.database.dispose()
    failure = house.job(fence.job_id).failure
    assert failure is not None
    assert (failure["category"], failure["code"]) == ("user", "code_disabled")


def test_a_package_that_is_another_by_now_is_refused(house: House) -> None:
    package = house.package({"net.py": NET})
    fence = house.start(model={"entrypoint": "net:build", "package": package})
    other = house.memory.storage.put("datasets", packed({"net.py": NET + "\n# changed"}))

    def swap(session: object) -> None:
        row = session.get_one(Dataset, package)  # type: ignore[attr-defined]
        row.uri, row.size = other.path, other.size

    house.memory.database.write(swap)
    assert Runner(house.memory, fence).run() == RECORDED
    failure = house.job(fence.job_id).failure
    assert failure is not None
    assert failure["code"] == "bad_input"
    assert "has changed since the job was submitted" in failure["message"]


def test_what_code_prints_is_printed_by_the_attempt(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    runner = Runner(house.memory, house.start())
    runner._book.take([Printed("worker 0 | hello\n")])
    runner._book.close()
    assert capfd.readouterr().err == "worker 0 | hello\n"
