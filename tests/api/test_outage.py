"""While PostgreSQL is away the API says so and when to ask again; when it is back it answers, by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.api.conftest import BASE_URL, serving
from tests.fixtures.database import PostgresServer


@pytest.fixture
def on_postgres(built_app: FastAPI, postgres_url: str, tmp_path: Path) -> Iterator[TestClient]:
    with serving(built_app, postgres_url, tmp_path):
        yield TestClient(built_app, base_url=BASE_URL, raise_server_exceptions=False)


@pytest.mark.slow
def test_503_with_retry_after_and_then_answers_again(on_postgres: TestClient, restartable: PostgresServer) -> None:
    family = {"name": "patches"}
    assert on_postgres.get("/v1/families").status_code == 200
    restartable.stop()
    job = "/v1/jobs/job_00000000000000000000000000"
    reads = (on_postgres.get("/v1/families"), on_postgres.get(job))
    for answer in (*reads, on_postgres.post("/v1/families", json=family)):
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert on_postgres.get("/healthz").status_code == 200
    assert on_postgres.get("/readyz").status_code == 503
    restartable.start()
    assert on_postgres.post("/v1/families", json=family).status_code == 201
    assert [each["name"] for each in on_postgres.get("/v1/families").json()["data"]] == ["patches"]
    assert on_postgres.get(job).status_code == 404
