"""The queue by lanes: whose first job, why it waits, what projects used; and that its length costs nothing."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select

from service import cluster, queue
from service.db.models import Job
from service.db.queue_queries import ahead
from service.states import JobState
from tests.service.kit import NOW, Bench, later

HALF_LIFE_S = 100.0


def why(bench: Bench, job_id: str, seconds: float = 0) -> dict[str, Any] | None:
    return bench.read(
        lambda session: queue.why_waiting(
            session, [session.get_one(Job, job_id)], cluster.last_seen(session), later(seconds)
        ).get(job_id)
    )


def snapshot(bench: Bench, **said: Any) -> None:
    node = {"id": "n", "alive": True, "cpus": 2, "gpus": 0}
    bench.write(lambda session: cluster.write_snapshot(session, "d", {"nodes": [node], **said}, NOW))


def test_one_job_a_lane_is_looked_at(bench: Bench) -> None:
    small = [bench.submit() for _ in range(3)]
    urgent = bench.submit(priority=1)
    large = [bench.submit(resources={"workers": 2}) for _ in range(2)]
    heads = bench.read(lambda session: queue.heads(session, NOW))
    assert [each.id for each in heads] == [urgent.id, large[0].id]
    assert bench.claim() is not None
    assert [each.id for each in bench.read(lambda session: queue.heads(session, NOW))] == [small[0].id, large[0].id]


def test_what_waits_for_another_try_lets_the_next_go_first(bench: Bench) -> None:
    fence = bench.running()
    other = bench.submit()
    bench.lose(fence)
    assert [each.id for each in bench.read(lambda session: queue.heads(session, NOW))] == [other.id]
    assert [each.id for each in bench.read(lambda session: queue.heads(session, later(2)))] == [fence.job_id]
    reason = why(bench, fence.job_id)
    assert reason is not None
    assert reason["code"] == "backoff"


def test_who_waits_for_another_try_does_not_wait_for_a_clock_that_was_set_back(bench: Bench) -> None:
    fence = bench.running()
    bench.lose(fence)
    assert [each.id for each in bench.read(lambda session: queue.heads(session, later(-3600)))] == [fence.job_id]
    assert why(bench, fence.job_id, -3600) is None


def test_each_job_says_why_it_waits(bench: Bench) -> None:
    jobs = [bench.submit() for _ in range(3)]
    assert why(bench, jobs[0].id) is None
    no_room = {"code": "no_room", "message": "needs 1 CPU, 0 of 2 are free"}
    snapshot(bench, waiting={jobs[0].lane: no_room})
    assert why(bench, jobs[0].id) == no_room
    assert why(bench, jobs[2].id) == {
        "code": "behind",
        "message": "behind 2 jobs of the same size, the first of which needs 1 CPU, 0 of 2 are free",
    }
    assert "waiting" not in bench.read(cluster.read), "lanes name projects"


def test_without_a_node_all_wait_for_one(bench: Bench) -> None:
    job = bench.submit()
    snapshot(bench, nodes=[])
    reason = why(bench, job.id)
    assert reason is not None
    assert reason["code"] == "no_cluster"


def used(bench: Bench, at: float) -> dict[str, float]:
    return bench.read(lambda session: queue.shares_used(session, later(at), HALF_LIFE_S))


def charge(bench: Bench, at: float, **shares: float) -> None:
    bench.write(lambda session: queue.account(session, shares, later(at), HALF_LIFE_S))


def test_who_always_held_all_has_used_all_and_it_fades(bench: Bench) -> None:
    for at in range(0, 2000, 10):
        charge(bench, at, busy=1.0, half=0.5)
    assert used(bench, 1990) == pytest.approx({"busy": 1.0, "half": 0.5}, rel=0.05)
    assert used(bench, 1990 + HALF_LIFE_S)["busy"] == pytest.approx(0.5, rel=0.05)
    for at in (5000, 10_000):
        charge(bench, at)
    assert used(bench, 10_000) == {}


def test_two_dispatchers_charge_a_time_once(bench: Bench) -> None:
    charge(bench, 0, p=1.0)
    charge(bench, 10, p=1.0)
    once = used(bench, 10)
    charge(bench, 10, p=1.0)
    assert used(bench, 10) == once


def fill(bench: Bench, count: int) -> None:
    """So many queued jobs like the first one."""
    first = bench.submit()
    row = bench.job(first.id)
    values = {column.name: getattr(row, column.name) for column in Job.__table__.columns}
    rows = [{**values, "id": f"job_{number:026}"} for number in range(count)]
    bench.write(lambda session: session.execute(insert(Job), rows))


def visited(bench: Bench) -> list[str]:
    """The plans of the statements that a look at the queue runs."""
    statements: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(bench.database.engine, "before_cursor_execute", note)
    bench.read(lambda session: (queue.newest_change(session), queue.heads(session, NOW)))
    event.remove(bench.database.engine, "before_cursor_execute", note)
    explain = "EXPLAIN QUERY PLAN " if bench.database.url.startswith("sqlite") else "EXPLAIN "
    plans = []
    with bench.database.engine.connect() as connection:
        for statement, parameters in statements:
            if "job" in statement:
                rows = connection.exec_driver_sql(explain + statement, parameters)
                plans += [str(row[-1]) for row in rows]
    return plans


def test_a_look_at_a_long_queue_seeks_and_never_scans(bench: Bench) -> None:
    fill(bench, 3000)
    if not bench.database.url.startswith("sqlite"):
        with bench.database.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE jobs")
    plans = visited(bench)
    assert plans
    assert not [line for line in plans if "SCAN jobs" in line or "Seq Scan on jobs" in line]
    assert any("ix_jobs_lane" in line for line in plans)


def test_the_count_of_those_ahead_is_bounded(bench: Bench) -> None:
    fill(bench, 50)
    last = bench.submit(priority=-1)
    assert bench.read(lambda session: ahead(session, session.get_one(Job, last.id), 10)) == 10
    assert bench.read(lambda session: ahead(session, session.get_one(Job, last.id), 1000)) == 51


def test_no_queued_job_is_forgotten(bench: Bench) -> None:
    fill(bench, 40)
    claims = 0
    while bench.claim(now=NOW + timedelta(hours=1)) is not None:
        claims += 1
    left = bench.read(lambda session: session.scalars(select(Job.id).where(Job.state == JobState.QUEUED)).all())
    assert (claims, left) == (41, [])
