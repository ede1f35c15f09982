"""Lists of jobs: every filter finds what a look at all jobs finds, and walks along an index to it."""

import itertools
import random
from typing import Any

import pytest
from sqlalchemy import event, select

from service import families as families_of
from service.db import job_search
from service.db.job_search import Filter, newest
from service.db.models import Job, JobLabel
from service.db.session import Database
from service.states import JobState
from tests.service.kit import NOW, PROJECT, Bench

STATES = ["queued", "running", "failed"]
FAMILIES = ["f", "g"]


@pytest.fixture
def many(bench: Bench) -> list[Job]:
    """Copies of one job in all kinds of combinations; some are deleted, some another project's."""
    draw = random.Random(1)
    templates = {family: bench.submit(family=family) for family in FAMILIES}
    foreign = bench.write(lambda session: families_of.ensure(session, "others", "f"))
    rows, labels = [], []
    for number in range(150):
        source = templates[draw.choice(FAMILIES)]
        values: dict[str, Any] = {column.name: getattr(source, column.name) for column in Job.__table__.columns}
        values |= {"id": f"job_{number:026}", "state": draw.choice(STATES), "event_seq": 0}
        values |= {"deleted_at": NOW if draw.random() < 0.1 else None}
        if draw.random() < 0.1:
            values |= {"project": "others", "family_id": foreign.id}
        rows.append(Job(**values))
        for key in ("owner", "kind"):
            label = {"job_id": values["id"], "project": values["project"], "key": key}
            labels.append(JobLabel(**label, value=draw.choice(["a", "b", "c"])))

    def add(session: Any) -> None:
        session.add_all(rows)
        session.flush()
        session.add_all(labels)

    bench.write(add)
    return bench.read(lambda session: list(session.scalars(select(Job).order_by(Job.id.desc()))))


def expected(bench: Bench, jobs: list[Job], wanted: Filter) -> list[str]:
    """The slow way."""
    labels: dict[str, dict[str, str]] = {}
    for row in bench.read(lambda session: list(session.scalars(select(JobLabel)))):
        labels.setdefault(row.job_id, {})[row.key] = row.value
    names = {job.id: job.spec["family"] for job in jobs}
    return [
        job.id
        for job in jobs
        if job.project == PROJECT
        and job.deleted_at is None
        and (not wanted.states or job.state in wanted.states)
        and (not wanted.families or names[job.id] in wanted.families)
        and all(labels.get(job.id, {}).get(key) in values for key, values in wanted.metadata.items())
    ]


@pytest.mark.parametrize("walks", [job_search.MOST_WALKS, 1])
def test_every_filter_finds_what_fits(
    bench: Bench, many: list[Job], monkeypatch: pytest.MonkeyPatch, walks: int
) -> None:
    monkeypatch.setattr(job_search, "MOST_WALKS", walks)
    states: list[list[str]] = [[], ["failed"], ["failed", "queued", "failed"], [JobState.PAUSING]]
    families: list[list[str]] = [[], ["g"], ["f", "g"], ["nowhere"]]
    metadata: list[dict[str, list[str]]] = [{}, {"owner": ["a"]}, {"owner": ["a", "b"], "kind": ["c"]}, {"no": ["a"]}]
    for chosen in itertools.product(states, families, metadata):
        wanted = Filter(*chosen)
        found = bench.read(lambda session, f=wanted: newest(session, PROJECT, f, None, 1000))
        assert found == expected(bench, many, wanted), wanted
        if len(found) > 3:
            page = bench.read(lambda session, f=wanted, at=found[1]: newest(session, PROJECT, f, at, 2))
            assert page == found[2:4]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Filter(), "ix_jobs_project"),
        (Filter(states=["failed"]), "ix_jobs_state"),
        (Filter(families=["f"]), "ix_jobs_family_id"),
        (Filter(states=["failed"], families=["f"]), "ix_jobs_family"),
        (Filter(metadata={"owner": ["a"]}), "ix_job_labels_value"),
    ],
)
def test_a_filter_walks_along_its_index(sqlite_url: str, wanted: Filter, index: str) -> None:
    bench = Bench(Database(sqlite_url))
    bench.submit()
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(bench.database.engine, "before_cursor_execute", note)
    bench.read(lambda session: newest(session, PROJECT, wanted, "job_z", 20))
    event.remove(bench.database.engine, "before_cursor_execute", note)
    with bench.database.engine.connect() as connection:
        statement, parameters = statements[-1]
        plan = [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    bench.database.dispose()
    assert any(f"{index} (" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line and "ORDER BY" not in line for line in plan), plan
