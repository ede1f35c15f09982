"""Jobs that have ended are kept in memory, and the database says each time whether that still holds."""

import json
from collections.abc import Sequence

import pytest
from fastapi import FastAPI
from sqlalchemy import update
from starlette.testclient import TestClient

from api.deps import Services
from api.ended import Texts
from service import clock, jobs
from service.access import DEFAULT_PROJECT
from service.db.models import Job
from service.db.session import Database
from service.jobs import Place
from tests.api.test_walks import counted
from tests.api.world import client_of, new_key
from tests.service.kit import PROJECT, Bench

JSON = {"Content-Type": "application/json"}
"""With it a request takes the long way."""


@pytest.fixture
def bench(built_app: FastAPI, services: Services) -> Bench:
    del built_app
    assert PROJECT == DEFAULT_PROJECT
    return Bench(services.database)


def ended(bench: Bench) -> str:
    fence = bench.running()
    bench.finish(fence, "succeeded", result={"steps": 1, "seconds": 0.5, "final": {"val_loss": 1e-7}})
    return fence.job_id


def test_the_short_way_gives_what_the_long_way_gives(bench: Bench, client: TestClient) -> None:
    for job_id in (ended(bench), bench.running().job_id, bench.submit().id, "job_00000000000000000000000000"):
        for _ in range(2):
            short, long = (client.get(f"/v1/jobs/{job_id}", headers=sent) for sent in ({}, JSON))
            assert short.status_code == long.status_code
            assert list(short.headers) == list(long.headers)
            assert {**short.json(), "request_id": 0} == {**long.json(), "request_id": 0}
            if short.status_code == 200:
                assert short.content == long.content
    assert client.get("/v1/jobs/job_00000000000000000000000000").json()["code"] == "not_found"


def test_an_ended_job_costs_one_small_statement(bench: Bench, client: TestClient, services: Services) -> None:
    job_id = ended(bench)
    first = client.get(f"/v1/jobs/{job_id}")
    with counted(services) as seen:
        again = client.get(f"/v1/jobs/{job_id}")
    assert again.content == first.content
    (only,) = [each for each in seen if any(table in each for table in ("jobs", "transitions", "attempts"))]
    assert "spec" not in only


def test_what_another_process_changes_shows_at_once(bench: Bench, client: TestClient) -> None:
    job_id = ended(bench)
    before = client.get(f"/v1/jobs/{job_id}").json()
    elsewhere = Database(bench.database.url)
    newer = {"event_seq": Job.event_seq + 1, "result": {"steps": 2}}  # as after a restore, and another end
    elsewhere.write(lambda session: session.execute(update(Job).where(Job.id == job_id).values(newer)))
    assert client.get(f"/v1/jobs/{job_id}").json() == {**before, "result": {"steps": 2}}
    elsewhere.write(lambda session: jobs.delete(session, PROJECT, job_id, clock.now()))
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    elsewhere.dispose()


def test_what_has_not_ended_is_never_kept(bench: Bench, client: TestClient) -> None:
    fence = bench.running()
    for step in (1, 2):
        bench.beat(fence, step=step)
        assert client.get(f"/v1/jobs/{fence.job_id}").json()["progress"]["step"] == step
    bench.finish(fence, "paused")
    assert client.get(f"/v1/jobs/{fence.job_id}").json()["state"] == "paused"
    bench.ask("resume", fence.job_id)
    assert client.get(f"/v1/jobs/{fence.job_id}").json()["state"] == "queued"


def test_it_opens_to_nobody_else(bench: Bench, built_app: FastAPI, services: Services) -> None:
    job_id = ended(bench)
    key_id, secret = new_key(services, PROJECT, "jobs:read")
    mine = client_of(built_app, secret)
    assert mine.get(f"/v1/jobs/{job_id}").status_code == 200
    without = client_of(built_app, new_key(services, PROJECT, "datasets:read")[1])
    assert without.get(f"/v1/jobs/{job_id}").json()["code"] == "missing_scope"
    other = client_of(built_app, new_key(services, "other", "admin")[1])
    assert other.get(f"/v1/jobs/{job_id}").json()["code"] == "not_found"
    admin = client_of(built_app, new_key(services, PROJECT, "admin")[1])
    assert admin.delete(f"/v1/keys/{key_id}").status_code == 200
    assert mine.get(f"/v1/jobs/{job_id}").json()["code"] == "bad_key"


def test_requests_are_counted_by_the_route(bench: Bench, client: TestClient) -> None:
    job_id = ended(bench)
    counter = 'warpadam_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="200"}'

    def count() -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(counter))

    before = count()
    for sent in ({}, JSON):
        client.get(f"/v1/jobs/{job_id}", headers=sent)
    assert count() == before + 2


def test_what_is_unusual_is_judged_by_the_route(bench: Bench, client: TestClient) -> None:
    job_id = ended(bench)
    assert client.get(f"/v1/jobs/{job_id}?x=1").json()["code"] == "invalid_request"
    assert client.request("GET", f"/v1/jobs/{job_id}", json="\0").json()["code"] == "invalid_request"
    assert client.put(f"/v1/jobs/{job_id}").status_code == 405
    assert client.get(f"/v1/jobs/{job_id}/").json()["code"] == "not_found"


def test_a_database_that_is_away_is_told(bench: Bench, client: TestClient) -> None:
    job_id = ended(bench)
    assert client.get(f"/v1/jobs/{job_id}").status_code == 200
    with bench.database.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE jobs RENAME TO away")
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code in (500, 503)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["instance"] == f"/v1/jobs/{job_id}"


def test_those_wanted_longest_ago_are_forgotten(bench: Bench) -> None:
    places: list[Place] = [(PROJECT, ended(bench)) for _ in range(3)]
    size = len(Texts(bench.database).read(places[:1])[places[0]])
    texts = Texts(bench.database, most=size * 5 // 2)

    def kept(wanted: Sequence[Place]) -> list[bool]:
        return [place in texts._kept for place in wanted]

    texts.read(places[:2])
    texts.read(places[:1])
    assert kept(places) == [True, True, False]
    texts.read(places[2:])
    assert kept(places) == [True, False, True]
    assert texts._bytes == sum(len(text) for _, text in texts._kept.values()) <= texts.most
    small = Texts(bench.database, most=size // 2)
    assert json.loads(small.read(places[:1])[places[0]])["id"] == places[0][1]
    assert not small._kept
