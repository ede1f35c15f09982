"""Starts are what their ledger says, or what they are not is told."""

from typing import Any

import pytest
from sqlalchemy import update

from service.db.models import StartContribution, StartVersion
from tests.service.kit import NOW
from tests.workers.meta.nursery import Nursery
from workers.meta.proof import verify_starts


@pytest.fixture
def grown(nursery: Nursery) -> Nursery:
    """Two rounds, and the second one's base is a version that retention would let go of otherwise."""
    for by in (0.1, 0.3):
        nursery.succeed(nursery.submit(), by)
    nursery.keeper.tend()
    for by in (0.1, 0.2, 0.3, 0.4, 0.5):
        nursery.succeed(nursery.submit(), by)
    nursery.keeper.tend()
    return nursery


def proved(nursery: Nursery) -> list[str]:
    with nursery.database.read() as session:
        return verify_starts(session, nursery.storage, nursery.family.id)


def test_every_start_is_what_its_ledger_says(grown: Nursery) -> None:
    assert [(version.version, version.round) for version in grown.versions()] == [(1, 1), (2, 2)]
    assert proved(grown) == []
    grown.succeed(grown.submit(), 0.1)  # undecided weights change nothing
    assert proved(grown) == []


@pytest.mark.parametrize(
    ("table", "values", "told"),
    [
        (StartVersion, {"step": 0.5}, "other weights"),
        (StartContribution, {"norm": 1e3}, "counts for"),
        (StartContribution, {"round": 7}, "not in round 2"),
    ],
    ids=["step", "norm", "round"],
)
def test_a_start_that_is_not_is_told(grown: Nursery, table: Any, values: dict[str, Any], told: str) -> None:
    newest = grown.versions()[-1]
    chosen = table.version == 2 if table is StartVersion else table.job_id == newest.jobs[0]["job"]
    grown.bench.write(lambda session: session.execute(update(table).where(chosen).values(**values)))
    (problem,) = proved(grown)
    assert problem.startswith("start 2: ")
    assert told in problem


def test_weights_of_another_content_are_told(grown: Nursery) -> None:
    """As if a start had been put in the place of another: its file is sound, and not what follows."""
    first, second = grown.versions()
    other = {"path": first.path, "sha256": first.sha256, "size": first.size}
    grown.bench.write(
        lambda session: session.execute(update(StartVersion).where(StartVersion.version == 2).values(**other))
    )
    (problem,) = proved(grown)
    assert "other weights" in problem
    assert second.version == 2


def test_a_start_whose_files_retention_removed_is_not_proved(grown: Nursery) -> None:
    job_id = grown.versions()[-1].jobs[0]["job"]
    grown.bench.write(lambda session: setattr(session.get_one(StartContribution, job_id), "collected_at", NOW))
    assert proved(grown) == []


def test_a_file_that_is_missing_is_a_problem(grown: Nursery) -> None:
    row = grown.bench.read(lambda session: session.get_one(StartContribution, grown.versions()[-1].jobs[0]["job"]))
    grown.storage.delete(row.path)
    (problem,) = proved(grown)
    assert "is gone" in problem
