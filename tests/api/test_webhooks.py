"""Webhooks over HTTP: made, refused, shown without their secret, removed."""

import json

import pytest
from starlette.testclient import TestClient

from api.deps import Services
from service import clock, deliveries
from tests.api.made import npz, spec

URL = "https://192.0.2.7/hook"


def test_the_secret_is_shown_once(client: TestClient) -> None:
    key = {"idempotency-key": "k"}
    made = client.post("/v1/webhooks", json={"url": URL, "events": ["end", "job.state"]}, headers=key)
    body = made.json()
    assert (made.status_code, made.headers["location"]) == (201, f"/v1/webhooks/{body['id']}")
    assert made.headers["cache-control"] == "no-store"
    secret = body.pop("secret")
    assert secret.startswith("whsec_")
    assert (body["object"], body["events"], body["enabled"]) == ("webhook", ["job.state", "end"], True)
    assert client.get(made.headers["location"]).json() == body
    assert client.get("/v1/webhooks").json()["data"] == [body]
    again = client.post("/v1/webhooks", json={"url": URL, "events": ["end", "job.state"]}, headers=key)
    assert (again.json()["id"], again.json()["secret"]) == (body["id"], None)
    assert secret not in client.get("/v1/audit").text
    assert client.delete(made.headers["location"]).json() == {"id": body["id"], "object": "deleted", "deleted": True}
    assert client.get(made.headers["location"]).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.7/hook",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[64:ff9b::a9fe:a9fe]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://localhost/",
        "https://user:password@192.0.2.7/",
        "https://8.8.8.8:22/",
        "ftp://192.0.2.7/",
        "no url",
    ],
)
def test_addresses_that_are_refused(plain_client: TestClient, url: str) -> None:
    answer = plain_client.post("/v1/webhooks", json={"url": url})
    assert (answer.status_code, answer.json()["code"], answer.json()["param"]) == (422, "invalid_request", "url")
    assert plain_client.get("/v1/webhooks").json()["data"] == []


@pytest.mark.parametrize("events", [[], ["nothing"], "end"])
def test_types_of_events_are_those_there_are(plain_client: TestClient, events: object) -> None:
    answer = plain_client.post("/v1/webhooks", json={"url": URL, "events": events})
    assert answer.status_code == 422
    assert answer.json()["param"].startswith("events")


def test_what_is_sent_is_what_the_list_shows(client: TestClient, services: Services) -> None:
    hook = client.post("/v1/webhooks", json={"url": URL}).json()["id"]
    dataset = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    job = client.post("/v1/jobs", json=spec(dataset)).json()["id"]
    (waiting,) = client.get(f"/v1/webhooks/{hook}/deliveries").json()["data"]
    assert (waiting["state"], waiting["attempts"], waiting["event_type"]) == ("pending", 0, "job.state")
    (parcel,) = services.database.write(lambda session: deliveries.claim(session, clock.now(), 9))
    (event,) = client.get(f"/v1/jobs/{job}/events").json()["data"]
    assert json.loads(parcel.body) == event | {"job_id": job}
    outcome = deliveries.Outcome(200)
    services.database.write(lambda session: deliveries.settle(session, parcel, outcome, clock.now()))
    (done,) = client.get(f"/v1/webhooks/{hook}/deliveries").json()["data"]
    assert (done["state"], done["last_status"], done["next_attempt_at"]) == ("delivered", 200, None)
    assert client.get(f"/v1/webhooks/{hook}").json()["last_delivery"]["status"] == 200
