"""What users ask of their jobs: lists, cancel, pause, resume, delete."""

import pytest

from service import attempts, jobs
from service.errors import InvalidRequest, InvalidState, NotFound
from service.states import JobState
from tests.service.kit import CRASH, NOW, PROJECT, Bench, later


def test_another_projects_job_is_not_there(bench: Bench) -> None:
    job_id = bench.submit().id
    with pytest.raises(NotFound):
        bench.read(lambda session: jobs.get(session, "other", job_id))
    with pytest.raises(NotFound):
        bench.write(lambda session: jobs.cancel(session, "other", job_id, NOW))


def test_lists_are_newest_first_in_pages(bench: Bench) -> None:
    made = sorted((bench.submit().id for _ in range(5)), reverse=True)
    first, cursor = bench.listed(limit=2)
    second, cursor = bench.listed(limit=2, after=cursor)
    third, end = bench.listed(limit=2, after=cursor)
    assert first + second + third == made
    assert end is None


def test_filters_mean_any_of_their_values_and_all_of_each_other(bench: Bench) -> None:
    a = bench.submit(family="a", metadata={"k": "1", "l": "x"}).id
    b = bench.submit(family="b", metadata={"k": "2", "l": "x"}).id
    c = bench.submit(family="c", metadata={"k": "3"}).id
    bench.ask("cancel", c)
    assert set(bench.listed(families=["a", "c"])[0]) == {a, c}
    assert bench.listed(states=["cancelled"])[0] == [c]
    assert set(bench.listed(states=["queued", "cancelled"])[0]) == {a, b, c}
    assert set(bench.listed(metadata={"k": ["1", "2"]})[0]) == {a, b}
    assert bench.listed(metadata={"k": ["2", "3"], "l": ["x"]})[0] == [b]
    assert bench.listed(metadata={"l": ["1"]})[0] == []
    with pytest.raises(InvalidRequest, match="no state"):
        bench.listed(states=["done"])


def test_a_cursor_is_bound_to_its_filters(bench: Bench) -> None:
    for _ in range(2):
        bench.submit()
    _, cursor = bench.listed(limit=1, states=["queued"])
    with pytest.raises(InvalidRequest, match="other filters"):
        bench.listed(limit=1, after=cursor)


@pytest.mark.parametrize("state", ["queued", "paused"])
def test_cancel_without_an_attempt_is_at_once(bench: Bench, state: str) -> None:
    job_id = bench.submit().id
    if state == "paused":
        bench.ask("pause", job_id)
    assert bench.state(job_id) == state
    assert bench.ask("cancel", job_id, later(1)).state == JobState.CANCELLED
    assert bench.ask("cancel", job_id).state == JobState.CANCELLED
    assert bench.job(job_id).finished_at == later(1)
    assert bench.claim() is None


@pytest.mark.parametrize("started", [False, True])
def test_cancel_of_a_living_attempt_is_an_intent_until_it_sees_it(bench: Bench, started: bool) -> None:
    fence = bench.running() if started else bench.claimed()
    before = bench.state(fence.job_id)
    assert bench.ask("cancel", fence.job_id).state == before
    assert bench.beat(fence) == "cancel"
    assert bench.state(fence.job_id) is JobState.CANCELLING
    assert bench.ask("cancel", fence.job_id).state == JobState.CANCELLING
    assert bench.beat(fence) == "cancel"
    assert bench.finish(fence, "cancelled") is JobState.CANCELLED
    assert bench.path(fence.job_id)[-2:] == ["cancelling", "cancelled"]


def test_success_that_was_committed_first_beats_cancel(bench: Bench) -> None:
    fence = bench.running()
    bench.ask("cancel", fence.job_id)
    bench.beat(fence)
    assert bench.finish(fence, "succeeded") is JobState.SUCCEEDED
    with pytest.raises(InvalidState, match="succeeded already"):
        bench.ask("cancel", fence.job_id)


def test_cancel_while_pausing_wins(bench: Bench) -> None:
    fence = bench.running()
    bench.ask("pause", fence.job_id)
    bench.beat(fence)
    bench.ask("cancel", fence.job_id)
    assert bench.finish(fence, "paused") is JobState.CANCELLED


def test_pause_and_resume(bench: Bench) -> None:
    fence = bench.running()
    assert bench.ask("pause", fence.job_id).state == JobState.RUNNING
    assert bench.beat(fence) == "pause"
    with pytest.raises(InvalidState, match="wait until it is paused"):
        bench.ask("resume", fence.job_id)
    assert bench.ask("pause", fence.job_id).state == JobState.PAUSING
    assert bench.finish(fence, "paused") is JobState.PAUSED
    assert bench.ask("pause", fence.job_id).state == JobState.PAUSED
    assert bench.claim() is None
    assert bench.ask("resume", fence.job_id).state == JobState.QUEUED
    claim = bench.claim()
    assert claim is not None
    assert claim.fence.attempt == 2
    bench.start(claim.fence, step=7)
    assert bench.beat(claim.fence) is None


def test_resume_takes_back_a_pause_that_nobody_saw(bench: Bench) -> None:
    fence = bench.running()
    bench.ask("pause", fence.job_id)
    assert bench.ask("resume", fence.job_id).state == JobState.RUNNING
    assert bench.beat(fence) is None


def test_pause_of_a_queued_job_is_at_once(bench: Bench) -> None:
    job_id = bench.submit().id
    assert bench.ask("pause", job_id).state == JobState.PAUSED
    assert bench.claim() is None


def test_what_ended_or_ends_cannot_be_paused_or_resumed(bench: Bench) -> None:
    fence = bench.running()
    with pytest.raises(InvalidState, match="only a paused job"):
        bench.ask("resume", fence.job_id)
    bench.ask("cancel", fence.job_id)
    with pytest.raises(InvalidState, match="being cancelled"):
        bench.ask("pause", fence.job_id)
    bench.finish(fence, "cancelled")
    for what in ("pause", "resume"):
        with pytest.raises(InvalidState):
            bench.ask(what, fence.job_id)


@pytest.mark.parametrize(("intent", "end"), [("cancel", JobState.CANCELLED), ("pause", JobState.PAUSED)])
def test_an_intent_that_came_during_a_crash_is_obeyed(bench: Bench, intent: str, end: JobState) -> None:
    for seen in (False, True):
        fence = bench.running()
        bench.ask(intent, fence.job_id)
        if seen:
            bench.beat(fence)
        assert bench.lose(fence) is end
        assert bench.job(fence.job_id).failure is None
        assert bench.claim(now=later(1000)) is None


def test_an_intent_with_nobody_to_obey_it_is_the_dispatchers(bench: Bench) -> None:
    cancelled, paused, untouched = bench.submit().id, bench.submit().id, bench.submit().id
    for job_id, intent in ((cancelled, "cancel"), (paused, "pause")):
        bench.write(lambda session, id_=job_id, what=intent: setattr(jobs.get(session, PROJECT, id_), "intent", what))
    assert bench.write(lambda session: attempts.obey_intents(session, NOW)) == sorted([cancelled, paused])
    assert [bench.state(each) for each in (cancelled, paused, untouched)] == ["cancelled", "paused", "queued"]
    assert bench.write(lambda session: attempts.obey_intents(session, NOW)) == []


def test_only_ended_jobs_can_be_deleted(bench: Bench) -> None:
    fence = bench.running()
    with pytest.raises(InvalidState, match="cancel it"):
        bench.write(lambda session: jobs.delete(session, PROJECT, fence.job_id, NOW))
    bench.finish(fence, "failed", failure=CRASH)
    bench.ask("cancel", fence.job_id)
    bench.write(lambda session: jobs.delete(session, PROJECT, fence.job_id, NOW))
    assert bench.listed()[0] == []
    with pytest.raises(NotFound):
        bench.read(lambda session: jobs.get(session, PROJECT, fence.job_id))
