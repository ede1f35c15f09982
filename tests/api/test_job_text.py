"""What is written straight from the database is what the models describe, whatever a job has gone through."""

import json
from functools import partial

import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.deps import Services
from api.schemas.common import Listing
from api.schemas.job_text import stored_json
from api.schemas.jobs import (
    Attempt,
    Failure,
    Job,
    PendingReason,
    Progress,
    StepVersion,
    Transition,
    WorkerGroup,
)
from api.schemas.records import Metrics
from service import attempts, clock, cluster, jobs, metrics, queue
from service.attempts import Failure as Broken
from service.db import models
from service.metrics import Point
from service.states import JobState
from tests.service.kit import CRASH, MISTAKE, NOW, PROJECT, Bench

ODD = 'quotes " and \\ and \n and \x7f and π'


@pytest.fixture
def bench(built_app: FastAPI, services: Services) -> Bench:
    del built_app
    return Bench(services.database)


def stories(bench: Bench) -> list[str]:
    """Jobs in many states, with all that can be told of them."""
    queued = bench.submit(name=ODD, metadata={"k": ODD})
    found = [queued.id]
    bench.ask("cancel", queued.id)
    fence = bench.running()
    bench.beat(fence, step=3)
    found.append(fence.job_id)
    lost = bench.running()
    bench.lose(lost, Broken("infrastructure", "worker_died", ODD, retryable=True))
    found.append(lost.job_id)
    ended = bench.running()
    bench.finish(ended, "failed", failure=MISTAKE)
    found.append(ended.job_id)
    good = bench.running(retries={"infrastructure": 0})
    bench.finish(good, "succeeded", result={"steps": 1, "seconds": 0.5, "final": {"val_loss": 1e-7}})
    found.append(good.job_id)
    gone = bench.running(retries={"infrastructure": 0})
    bench.lose(gone, CRASH)
    starting = bench.claimed()
    elastic = bench.running(resources={"workers": {"min": 1, "max": 2}})
    for step, workers in ((0, 1), (5, 2)):
        grow = partial(attempts.begin_group, fence=elastic, step=step, workers=workers, now=NOW)
        bench.write(lambda session, grow=grow: grow(session))  # type: ignore[misc]
    stopping, halting = bench.running(), bench.running()
    bench.ask("pause", halting.job_id)
    bench.beat(halting)
    bench.ask("cancel", stopping.job_id)
    bench.beat(stopping)
    paused = bench.submit().id
    bench.ask("pause", paused)
    found += [gone.job_id, starting.job_id, elastic.job_id, stopping.job_id, halting.job_id, paused]
    return [*found, bench.submit().id, bench.submit().id]


def described(bench: Bench, job_id: str) -> Job:
    """The job as its schema has it, made from what is stored by nothing that writes it."""

    def why(session: Session) -> object:
        row = session.get_one(models.Job, job_id)
        return queue.why_waiting(session, [row], cluster.last_seen(session), clock.now()).get(job_id)

    row, reason = bench.job(job_id), bench.read(why)
    given = {name: getattr(row, name) for name in Job.model_fields if name in row.__table__.columns}
    given |= {
        "start_version": row.resolved.get("start_version"),
        "progress": Progress(step=row.progress_step, of=row.progress_of, eta_s=row.eta_s),
        "failure": Failure.model_validate(row.failure) if row.failure else None,
        "pending_reason": PendingReason.model_validate(reason) if reason else None,
        "transitions": [
            Transition.model_validate({name: getattr(each, name) for name in Transition.model_fields})
            for each in bench.read(lambda session: jobs.transitions(session, job_id))
        ],
        "attempts": [_tried(each) for each in bench.read(lambda session: jobs.attempts(session, job_id))],
    }
    return Job.model_validate(given)


def _tried(row: models.Attempt) -> Attempt:
    given = {name: getattr(row, name) for name in Attempt.model_fields}
    given["failure"] = Failure.model_validate(row.failure) if row.failure else None
    given["warps"] = [StepVersion.model_validate(each) for each in row.warps]
    given["groups"] = [WorkerGroup.model_validate(each) for each in row.groups]
    return Attempt.model_validate(given)


def test_what_is_written_is_the_schema_of_what_is_stored(bench: Bench, client: TestClient) -> None:
    ids = stories(bench)
    expected = {id_: json.loads(described(bench, id_).model_dump_json()) for id_ in ids}
    for id_, wanted in expected.items():
        told = client.get(f"/v1/jobs/{id_}").json()
        for name in Job.model_fields:
            assert told[name] == wanted[name], (told["state"], name)
        assert told == wanted
    assert client.get("/v1/jobs?limit=100").json()["data"] == [expected[id_] for id_ in sorted(ids, reverse=True)]
    tried = [attempt for job in expected.values() for attempt in job["attempts"]]
    assert [len(each["groups"]) for each in tried if each["groups"]] == [2]
    assert any(each["failure"] for each in tried)
    assert any(job["result"] for job in expected.values())
    assert any(job["pending_reason"] for job in expected.values())


def test_every_job_is_what_its_model_says(bench: Bench, client: TestClient) -> None:
    ids = stories(bench)
    states = set()
    for id_ in ids:
        answer = client.get(f"/v1/jobs/{id_}")
        told = json.loads(answer.content)
        assert answer.headers["content-type"] == "application/json"
        assert json.loads(Job.model_validate_json(answer.content).model_dump_json()) == told
        assert list(told) == list(Job.model_fields)
        row = bench.job(id_)
        assert (told["spec"], told["result"], told["state"]) == (row.spec, row.result, row.state)
        assert [each["target"] for each in told["transitions"]] == bench.path(id_)
        states.add(told["state"])
    assert states >= set(JobState) - {JobState.RECOVERING}
    page = client.get("/v1/jobs?limit=3")
    listed = Listing[Job].model_validate_json(page.content)
    assert json.loads(listed.model_dump_json()) == json.loads(page.content)
    assert (
        listed.data[0].model_dump() == Job.model_validate_json(client.get(f"/v1/jobs/{ids[-1]}").content).model_dump()
    )


def test_numbers_that_json_has_no_word_for_are_null() -> None:
    odd = {"val_loss": float("nan"), "best": float("inf"), "text": "NaN", "good": 1.5}
    assert json.loads(stored_json(json.dumps(odd))) == {"val_loss": None, "best": None, "text": "NaN", "good": 1.5}
    assert stored_json(None) == stored_json("null") == "null"


def test_metrics_are_what_their_model_says(bench: Bench, client: TestClient) -> None:
    job_id = bench.submit().id
    points = [Point(name, step, value, NOW) for name in ("lr", ODD[:20]) for step, value in ((0, 1e-300), (7, -2.0))]
    bench.write(lambda session: metrics.write(session, job_id, points))
    answer = client.get(f"/v1/jobs/{job_id}/metrics?name=lr&name=none")
    assert json.loads(Metrics.model_validate_json(answer.content).model_dump_json()) == answer.json()
    assert answer.json()["data"]["none"] == []
    everything = client.get(f"/v1/jobs/{job_id}/metrics").json()["data"]
    assert [point["value"] for point in everything["lr"]] == [1e-300, -2.0]
    assert set(everything) == {"lr", ODD[:20]}


def test_a_job_of_another_project_is_not_looked_at(bench: Bench) -> None:
    job_id = bench.submit().id
    mine, theirs = (PROJECT, job_id), ("others", job_id)
    both = bench.read(lambda session: jobs.look(session, {mine, theirs, ("others", "job_x")}, clock.now()))
    assert list(both) == [mine]
    assert bench.read(lambda session: jobs.look(session, {theirs}, clock.now())) == {}
