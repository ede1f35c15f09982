"""The queue as the dispatcher works with it, on real databases."""

import pytest
from sqlalchemy.orm import Session

from service import attempts, queue, quotas
from service.cluster import ClusterState
from service.db import queue_queries
from service.db.models import Job
from service.db.session import Database
from service.limits import Limits
from service.queue import lane_of
from service.settings import Settings
from service.spec import JobSpec
from tests.service.kit import Bench, later
from workers.cluster import View
from workers.line import Line, MayStart
from workers.policies import Node

FOUR = View((Node("a", 4, 0),), connected=True, error=None)


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


def claim(bench: Bench, line: Line, seconds: float = 0, may_start: MayStart | None = None) -> str | None:
    said = {} if may_start is None else {"may_start": may_start}
    found = bench.write(lambda session: line.claim(session, FOUR, "process", now=later(seconds), **said))
    return None if found is None else found.job.id


def of_project(bench: Bench, project: str, **fields: object) -> str:
    """A job of another project than the bench's."""
    job = bench.submit(**fields)

    def move(session: Session) -> None:
        row = session.get_one(Job, job.id)
        row.project, row.queued_at = project, later(0)
        row.lane = lane_of(project, JobSpec.model_validate(row.spec, extra="ignore").resources)

    bench.write(move)
    return job.id


def test_projects_take_turns(bench: Bench) -> None:
    line = Line(Settings())
    greedy = [of_project(bench, "greedy") for _ in range(3)]
    modest = of_project(bench, "modest")
    assert [claim(bench, line) for _ in range(4)] == [greedy[0], modest, greedy[1], greedy[2]]


def test_who_used_much_lately_goes_last(bench: Bench) -> None:
    line = Line(Settings())
    bench.write(lambda session: queue.account(session, {"a": 1.0}, later(-60), 3600))
    bench.write(lambda session: queue.account(session, {"a": 1.0}, later(0), 3600))
    heavy, light = of_project(bench, "a"), of_project(bench, "b")
    assert [claim(bench, line), claim(bench, line)] == [light, heavy]


def test_room_is_made_for_who_waited_long_and_that_is_remembered(bench: Bench) -> None:
    line = Line(Settings())
    first = of_project(bench, "p")
    assert claim(bench, line) == first
    large = of_project(bench, "q", resources={"workers": 4})
    small = of_project(bench, "p")
    assert claim(bench, line, 61) is None, "it became due at this look"
    assert bench.job(large).due_since == later(61)
    assert line.told()[bench.job(small).lane]["code"] == "reserved"
    assert claim(bench, Line(Settings()), 62) is None, "another dispatcher knows it too"
    (held,) = bench.read(attempts.live)
    bench.lose(held.fence)
    assert claim(bench, line, 62) == large
    assert bench.job(large).due_since is None


def test_a_quota_lets_others_pass_and_is_told(bench: Bench) -> None:
    line = Line(Settings())
    barred, free = of_project(bench, "barred"), of_project(bench, "free")
    assert claim(bench, line, may_start=lambda project, _: project != "barred") == free
    assert claim(bench, line, may_start=lambda project, _: project != "barred") is None
    assert line.told()[bench.job(barred).lane]["code"] == "quota"


def test_which_quota_it_is_comes_from_who_counted(bench: Bench) -> None:
    line, job = Line(Settings()), of_project(bench, "p")
    admission = bench.read(lambda session: quotas.admission(session, Limits(running_jobs=0), later(0)))
    bench.write(lambda s: line.claim(s, FOUR, "process", admission, later(0), why_not=admission.why_not))
    told = line.told()[bench.job(job).lane]
    assert (told["code"], "0 may run at once" in told["message"]) == ("quota", True)


def test_once_a_second_it_marks_what_never_fits_and_charges(bench: Bench) -> None:
    line = Line(Settings())
    huge = of_project(bench, "p", resources={"workers": 9})
    of_project(bench, "q")
    seen = ClusterState.model_validate({"nodes": [{"id": "a", "cpus": 4}]})
    claim(bench, line)
    bench.write(lambda session: line.look(session, FOUR, seen))
    reason = bench.job(huge).pending_reason
    assert reason is not None
    assert reason["code"] == "too_large"
    assert [row.project for row in bench.read(queue_queries.usage_seen)] == ["q"]


def elastic(bench: Bench, seconds: float = 0) -> attempts.Fence:
    """A job of one to four workers that was claimed and trains."""
    bench.submit(resources={"workers": {"min": 1, "max": 4}}, priority=1)
    found = bench.write(lambda session: Line(Settings()).claim(session, FOUR, "process", now=later(seconds)))
    assert found is not None

    def begin(session: Session) -> None:
        attempts.start(session, found.fence, start_step=0, pid=1, now=later(seconds))
        attempts.begin_group(session, found.fence, step=0, workers=found.workers, now=later(seconds))

    bench.write(begin)
    return found.fence


def granted(bench: Bench, fence: attempts.Fence) -> int | None:
    return bench.read(lambda session: attempts.granted(session, fence))


def resize(bench: Bench, seconds: float) -> dict[str, int]:
    return bench.write(lambda session: Line(Settings()).resize(session, FOUR, now=later(seconds)))


def test_an_elastic_job_takes_what_is_free_and_gives_back_to_who_comes(bench: Bench) -> None:
    fence = elastic(bench)
    assert granted(bench, fence) == 4
    small = of_project(bench, "q")
    assert resize(bench, 30) == {}, "it was begun just now"
    assert resize(bench, 61) == {fence.job_id: 3}
    assert granted(bench, fence) == 3
    assert claim(bench, Line(Settings()), 62) is None, "its workers have not ended yet"
    assert resize(bench, 62) == {}, "the room is being made"
    bench.write(lambda session: attempts.begin_group(session, fence, step=9, workers=3, now=later(63)))
    assert claim(bench, Line(Settings()), 63) == small


def test_an_elastic_job_grows_once_nobody_waits(bench: Bench) -> None:
    first, other = of_project(bench, "q"), of_project(bench, "r", resources={"workers": 2})
    fence = elastic(bench)
    assert granted(bench, fence) == 1
    line = Line(Settings())
    assert [claim(bench, line), claim(bench, line)] == [first, other]
    assert resize(bench, 61) == {}
    for held in bench.read(attempts.live):
        if held.fence.job_id == other:
            bench.start(held.fence)
            bench.finish(held.fence, "succeeded")
    assert resize(bench, 62) == {fence.job_id: 3}
    assert resize(bench, 63) == {}, "one change at a time"
