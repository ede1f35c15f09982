"""What is written straight from the database is what the models describe, whatever a job has gone through."""

import json

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.deps import Services
from api.schemas.common import Listing
from api.schemas.job_text import stored_json
from api.schemas.jobs import Job, Metrics
from service import clock, jobs, metrics
from service.attempts import Failure
from service.metrics import Point
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
    bench.lose(lost, Failure("infrastructure", "worker_died", ODD, retryable=True))
    found.append(lost.job_id)
    ended = bench.running()
    bench.finish(ended, "failed", failure=MISTAKE)
    found.append(ended.job_id)
    good = bench.running(retries={"infrastructure": 0})
    bench.finish(good, "succeeded", result={"steps": 1, "seconds": 0.5, "final": {"val_loss": 1e-7}})
    found.append(good.job_id)
    gone = bench.running(retries={"infrastructure": 0})
    bench.lose(gone, CRASH)
    return [*found, gone.job_id, bench.submit().id, bench.submit().id]


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
    assert len(states) >= 5
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
