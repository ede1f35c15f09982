"""The table of transitions, as the contract has it, and the gate that keeps it."""

import pytest
from sqlalchemy.orm import Session

from service import gate
from service.db import job_queries
from service.db.models import Job
from service.errors import InvalidState
from service.states import ALLOWED, TERMINAL, JobState, check
from tests.service.kit import NOW, Bench

CONTRACT = """
queued: starting paused cancelled failed
starting: running queued recovering cancelling pausing failed
running: succeeded failed recovering pausing cancelling
recovering: starting queued cancelling pausing failed
pausing: paused succeeded failed recovering cancelling
paused: queued cancelled
cancelling: cancelled succeeded failed
succeeded:
failed:
cancelled:
"""


def test_the_table_is_the_contracts() -> None:
    rows = [line.split(":") for line in CONTRACT.split("\n") if line]
    assert {JobState(source): frozenset(map(JobState, targets.split())) for source, targets in rows} == ALLOWED


@pytest.mark.parametrize("source", JobState)
def test_what_is_not_in_the_table_is_refused(source: JobState) -> None:
    for target in JobState:
        if target in ALLOWED[source]:
            check(source, target)
        else:
            with pytest.raises(InvalidState, match=source):
                check(source, target)


def test_terminal_states_are_the_three() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL


def test_every_allowed_move_leaves_a_transition_and_an_event(bench: Bench) -> None:
    for source, targets in ALLOWED.items():
        for target in targets:
            job_id = bench.submit().id
            bench.write(lambda session, id_=job_id, state=source: _force(session, id_, state))
            bench.write(lambda session, id_=job_id, state=target: _move(session, id_, state))
            job, event = bench.job(job_id), bench.events(job_id)[1]
            assert job.state == target
            assert bench.path(job_id) == ["queued", target]
            assert (event.type, event.data) == ("job.state", {"from": source, "to": target, "reason": "why"})
            assert (job.finished_at is not None) == target.is_terminal
            assert [each.type for each in bench.events(job_id)[2:]] == ["end"] * target.is_terminal


def test_a_refused_move_changes_nothing(bench: Bench) -> None:
    job_id = bench.submit().id
    with pytest.raises(InvalidState):
        bench.write(lambda session: _move(session, job_id, JobState.RUNNING))
    assert bench.path(job_id) == ["queued"]


def _force(session: Session, job_id: str, state: JobState) -> None:
    session.get_one(Job, job_id).state = state


def _move(session: Session, job_id: str, state: JobState) -> None:
    job = job_queries.locked(session, job_id)
    assert job is not None
    gate.change_state(session, job, state, "why", now=NOW)
