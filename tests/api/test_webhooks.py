"""Webhooks over HTTP: made, refused, shown without their secret, removed."""

import json
from datetime import timedelta
from typing import Any

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


def made(client: TestClient, **fields: object) -> dict[str, Any]:
    answer = client.post("/v1/webhooks", json={"url": URL, **fields})
    assert answer.status_code == 201
    body: dict[str, Any] = answer.json()
    return body


def test_a_change_changes_what_is_given(client: TestClient) -> None:
    hook = made(client, events=["end"])
    path = f"/v1/webhooks/{hook['id']}"
    before = client.get(path).json()
    assert client.patch(path, json={}).json() == before
    assert client.patch(path, json={"events": ["end", "job.state"]}).json() == before | {"events": ["job.state", "end"]}
    assert client.patch(path, json={"events": None}).json()["events"] == []
    assert client.patch(path, json={"url": "https://192.0.2.8/"}).json()["url"] == "https://192.0.2.8/"
    off = client.patch(path, json={"enabled": False}).json()
    assert (off["enabled"], off["disabled_reason"]) == (False, "it was disabled by hand")
    on = client.patch(path, json={"enabled": True}).json()
    assert (on["enabled"], on["disabled_reason"], on["url"]) == (True, None, "https://192.0.2.8/")
    assert client.get(path).json() == on
    noted = [row["data"] for row in client.get("/v1/audit?action=webhook.update").json()["data"]]
    assert noted[:3] == [{"changed": ["enabled"]}, {"changed": ["enabled"]}, {"changed": ["url"]}]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "https://169.254.169.254/"}, "url"),
        ({"url": "http://192.0.2.7/"}, "url"),
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"events": []}, "events"),
        ({"events": ["nothing"]}, "events.0"),
        ({"enabled": None}, "enabled"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
def test_changes_that_are_refused_change_nothing(plain_client: TestClient, body: object, param: str) -> None:
    path = f"/v1/webhooks/{made(plain_client)['id']}"
    before = plain_client.get(path).json()
    answer = plain_client.patch(path, json=body)
    assert (answer.status_code, answer.json()["param"]) == (422, param)
    assert plain_client.get(path).json() == before


def test_one_that_is_disabled_is_sent_nothing_more(client: TestClient, services: Services) -> None:
    hook = made(client)["id"]
    dataset = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    client.post("/v1/jobs", json=spec(dataset))
    client.patch(f"/v1/webhooks/{hook}", json={"enabled": False})
    (given_up,) = client.get(f"/v1/webhooks/{hook}/deliveries").json()["data"]
    assert (given_up["state"], given_up["last_error"]) == (
        "failed",
        "the webhook was disabled: it was disabled by hand",
    )
    client.post("/v1/jobs", json=spec(dataset))
    assert services.database.write(lambda session: deliveries.claim(session, clock.now(), 9)) == []
    refused = client.post(f"/v1/webhooks/{hook}/test")
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_state")
    client.patch(f"/v1/webhooks/{hook}", json={"enabled": True})
    client.post("/v1/jobs", json=spec(dataset))
    assert len(services.database.write(lambda session: deliveries.claim(session, clock.now(), 9))) == 1


def test_what_is_still_to_be_sent_follows_the_url(client: TestClient, services: Services) -> None:
    hook = made(client)["id"]
    client.post(f"/v1/webhooks/{hook}/test")
    client.patch(f"/v1/webhooks/{hook}", json={"url": "https://192.0.2.9/new"})
    (parcel,) = services.database.write(lambda session: deliveries.claim(session, clock.now(), 9))
    assert parcel.url == "https://192.0.2.9/new"


def test_a_new_secret_signs_beside_the_old_one_for_a_day(client: TestClient, services: Services) -> None:
    hook = made(client)
    path = f"/v1/webhooks/{hook['id']}"
    key = {"idempotency-key": "k"}
    answer = client.post(f"{path}/rotate", headers=key)
    fresh = answer.json()["secret"]
    assert answer.headers["cache-control"] == "no-store"
    assert fresh not in (None, hook["secret"])
    again = client.post(f"{path}/rotate", headers=key)
    assert (again.json()["secret"], again.headers["idempotent-replayed"]) == (None, "true")
    client.post(f"{path}/test")
    now = clock.now()
    for later, secrets in ((timedelta(), [fresh, hook["secret"]]), (timedelta(hours=25), [fresh])):
        (parcel,) = services.database.write(lambda session, at=now + later: deliveries.claim(session, at, 9))
        sent = deliveries.headers(parcel, now)["webhook-signature"].split()
        assert sent == [
            deliveries.signature(each, parcel.message_id, int(now.timestamp()), parcel.body) for each in secrets
        ]
    assert fresh not in client.get("/v1/audit").text + client.get(path).text + client.get("/v1/webhooks").text


def test_a_test_is_sent_whatever_the_webhook_listens_to(client: TestClient, services: Services) -> None:
    hook, other = made(client, events=["end"])["id"], made(client)["id"]
    answer = client.post(f"/v1/webhooks/{hook}/test")
    assert (answer.status_code, answer.json()["event_type"], answer.json()["state"]) == (201, "test", "pending")
    assert client.get(answer.headers["location"]).json() == answer.json()
    assert client.get(f"/v1/webhooks/{other}/deliveries").json()["data"] == []
    assert client.get(f"/v1/webhooks/{other}/deliveries/{answer.json()['id']}").status_code == 404
    (parcel,) = services.database.write(lambda session: deliveries.claim(session, clock.now(), 9))
    message = json.loads(parcel.body)
    assert (message["type"], message["id"], message["job_id"]) == ("test", parcel.message_id, None)
