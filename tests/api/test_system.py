"""Health, readiness, the cluster, Prometheus, the web page and the documentation."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from api.deps import Services
from api.routes.web import STATIC
from service import clock, cluster

SEEN = {
    "nodes": [{"id": "n1", "alive": True, "cpus": 4.0, "gpus": 1.0, "host": "a"}],
    "cpus": 4.0,
    "gpus": 1.0,
    "free_cpus": 3.0,
    "free_gpus": 1.0,
}


def _see(services: Services, seconds_ago: float = 0) -> None:
    at = clock.now() - timedelta(seconds=seconds_ago)
    services.database.write(lambda s: cluster.write_snapshot(s, "dispatcher", SEEN, at))


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "auth": "none"}


def test_ready_once_the_dispatcher_has_been_seen(client: TestClient, services: Services) -> None:
    before = client.get("/readyz")
    assert (before.status_code, before.json()["status"]) == (503, "not_ready")
    _see(services)
    after = client.get("/readyz")
    assert (after.status_code, after.json()["status"]) == (200, "ready")
    assert set(after.json()["checks"]) == {"database", "dispatcher", "ray"}


def test_not_ready_while_the_dispatcher_is_silent(client: TestClient, services: Services) -> None:
    _see(services, seconds_ago=60)
    assert client.get("/readyz").json()["checks"]["dispatcher"]["ok"] is False


def test_not_ready_without_a_schema(client: TestClient, services: Services) -> None:
    with services.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE snapshots")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["database"]["ok"]) == (503, False)


def test_cluster(client: TestClient, services: Services) -> None:
    empty = client.get("/v1/cluster").json()
    assert (empty["nodes"], empty["at"]) == ([], None)
    _see(services)
    seen = client.get("/v1/cluster").json()
    assert (seen["object"], seen["used_cpus"], seen["used_gpus"]) == ("cluster", 1.0, 0.0)
    assert seen["nodes"] == SEEN["nodes"]
    assert seen["queue"] == {"queued": 0, "running": 0}
    assert seen["at"].endswith("Z")


def test_prometheus(client: TestClient, services: Services) -> None:
    _see(services)
    client.post("/v1/families", json={"name": "f"})
    client.get("/v1/families/f")
    answer = client.get("/metrics")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples[("warpadam_families",)] == 1
    assert samples[("warpadam_jobs", "queued")] == 0
    assert samples[("warpadam_cluster_free_cpus",)] == 3
    assert samples[("warpadam_http_requests_total", "GET", "/v1/families/{family}", "200")] >= 1


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/static/app.js", "/static/parts.js", "/static/docs.js", "/static/events.js", "/static/style.css"],
)
def test_the_page_needs_nothing_from_elsewhere(plain_client: TestClient, path: str) -> None:
    answer = plain_client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    outside = [url for url in re.findall(r"https?://[^\s\"'`)]+", answer.text) if url != "http://www.w3.org/2000/svg"]
    assert outside == []
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", answer.text.replace("${", ""))


def test_every_file_that_the_page_names_is_served(plain_client: TestClient) -> None:
    for name in ("index.html", "docs.html"):
        for path in re.findall(r'(?:href|src)="(/[^"#]*)"', (STATIC / name).read_text()):
            assert plain_client.get(path).status_code == 200, path


def test_text_is_never_set_as_html() -> None:
    for script in STATIC.glob("*.js"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script.read_text())


def test_head_asks_for_the_page_too(plain_client: TestClient) -> None:
    assert plain_client.head("/").status_code == 200


def test_the_page_takes_any_query(plain_client: TestClient) -> None:
    assert plain_client.get("/?from=mail").status_code == 200


def test_every_call_in_the_documentation_exists(built_app: FastAPI, root: Path) -> None:
    calls = re.findall(r"\$URL(/[^\s\"'?]*)", (root / "docs" / "api.md").read_text())
    known = [re.compile(re.sub(r"{\w+}", r"[^/]+", path)) for path in built_app.openapi()["paths"]]
    unknown = [call for call in calls if not any(path.fullmatch(call) for path in known)]
    assert len(calls) > 30
    assert unknown == []
