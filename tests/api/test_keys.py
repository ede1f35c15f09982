"""Keys over HTTP: who needs one, how they are made and end, what is said without one, and where secrets never are."""

import json
import logging
import re
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import text
from starlette.testclient import TestClient

from api.access import Access
from api.app import create_app
from api.deps import Services
from service import clock, keys, tokens
from service.access import Caller
from service.bind import RefusesToStart
from service.db.models import ApiKey
from service.settings import Settings
from tests.api.made import npz, spec, warp_file
from tests.api.world import BASE_URL, build, client_of, new_key


@pytest.fixture
def admin(built_app: FastAPI, services: Services) -> TestClient:
    return client_of(built_app, new_key(services, "alpha", "admin")[1])


@pytest.fixture
def anyone(built_app: FastAPI) -> TestClient:
    return TestClient(built_app, base_url=BASE_URL, raise_server_exceptions=False)


def use(services: Services, **changed: object) -> None:
    """The service as it would be with other settings."""
    settings = services.settings.model_copy(update=changed)
    object.__setattr__(services, "access", Access(settings, services.database))
    object.__setattr__(services, "settings", settings)


def test_loopback_needs_no_key_until_there_is_one(anyone: TestClient, services: Services) -> None:
    assert anyone.get("/healthz").json()["auth"] == "none"
    assert anyone.get("/v1/jobs").status_code == 200
    secret = anyone.post("/v1/keys", json={"scopes": ["admin"]}).json()["secret"]
    assert anyone.get("/healthz").json()["auth"] == "keys"
    refused = anyone.get("/v1/jobs")
    assert (refused.status_code, refused.json()["code"]) == (401, "no_key")
    mine = {"authorization": f"Bearer {secret}"}
    assert anyone.get("/v1/jobs", headers=mine).status_code == 200
    (key,) = anyone.get("/v1/keys", headers=mine).json()["data"]
    assert key["project"] == "default"
    assert anyone.delete(f"/v1/keys/{key['id']}", headers=mine).status_code == 200
    assert anyone.get("/v1/jobs", headers=mine).json()["code"] == "bad_key"
    assert anyone.get("/v1/jobs").json()["code"] == "no_key"  # the last key's end opens the service to nobody


def test_a_key_made_elsewhere_is_seen(anyone: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    assert anyone.get("/v1/jobs").status_code == 200
    monkeypatch.setattr("api.access.LOOK_EVERY_S", 0.0)
    new_key(services, "alpha", "admin")
    assert anyone.get("/v1/jobs").status_code == 401


@pytest.mark.parametrize(
    ("settings", "status"),
    [({"auth": "keys"}, 401), ({"auth": "off"}, 200), ({"host": "0.0.0.0"}, 401), ({"host": "10.0.0.7"}, 401)],
)
def test_settings_say_who_needs_a_key(
    plain_client: TestClient, settings: dict[str, str], status: int, request: pytest.FixtureRequest
) -> None:
    assert isinstance(plain_client.app, FastAPI)
    services: Services = plain_client.app.state.services
    if settings.get("auth") == "off":
        new_key(services, "alpha", "admin")
    use(services, **settings)
    assert plain_client.get("/v1/jobs").status_code == status


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/static/app.js", "/favicon.svg"])
def test_what_is_the_same_for_all_needs_no_key(plain_client: TestClient, path: str) -> None:
    assert isinstance(plain_client.app, FastAPI)
    use(plain_client.app.state.services, host="0.0.0.0")
    assert plain_client.get(path, headers={"host": "train.example.org"}).status_code == 200


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/nothing", "/metrics", "/nowhere", "/healthz/", "/static", "/v1"])
def test_everything_else_does_even_where_nothing_is(plain_client: TestClient, path: str) -> None:
    assert isinstance(plain_client.app, FastAPI)
    use(plain_client.app.state.services, auth="keys")
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        answer = plain_client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, "no_key")
        assert answer.headers["www-authenticate"] == 'Bearer realm="warpadam"'
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_a_strangers_body_is_not_read(plain_client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(plain_client.app, FastAPI)
    use(plain_client.app.state.services, auth="keys")
    monkeypatch.setattr("api.guard._limited", lambda *_: pytest.fail("the body was handed on"))
    for kind in ("application/json", "text/plain", "multipart/form-data"):
        answer = plain_client.post("/v1/datasets", content=b"{" * 1000, headers={"content-type": kind})
        assert answer.status_code == 401


def test_what_is_no_key(admin: TestClient) -> None:
    unknown = tokens.new("key_" + "0" * 26)
    sent = {"Bearer": "no_key", "Bearer ": "no_key", "Basic YTpi": "no_key", unknown: "no_key"}
    sent |= dict.fromkeys(("Bearer wa_x", "Bearer \xff\xfe", "Bearer " + "x" * 20_000, f"bearer {unknown}"), "bad_key")
    for header, code in sent.items():
        answer = admin.get("/v1/jobs", headers=[("authorization", header.encode("latin-1"))])  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (401, code), header[:20]
        assert ("invalid_token" in answer.headers["www-authenticate"]) == (code == "bad_key")


def test_two_keys_at_once_are_none(admin: TestClient) -> None:
    sent = [("authorization", admin.headers["authorization"])] * 2
    answer = TestClient(admin.app, base_url=BASE_URL).get("/v1/jobs", headers=sent)  # type: ignore[arg-type]
    assert answer.json()["code"] == "no_key"


def test_a_key_in_a_url_is_no_key(admin: TestClient, anyone: TestClient) -> None:
    secret = admin.headers["authorization"].removeprefix("Bearer ")
    for name in ("api_key", "access_token", "key", "authorization"):
        assert anyone.get("/v1/jobs", params={name: secret}).json()["code"] == "no_key"


def test_keys_are_made_seen_and_revoked(admin: TestClient, built_app: FastAPI) -> None:
    end = (clock.now() + timedelta(days=1)).isoformat()
    made = admin.post("/v1/keys", json={"name": "ci", "scopes": ["jobs:write", "jobs:read"], "expires_at": end})
    assert made.status_code == 201
    body = made.json()
    assert made.headers["location"] == f"/v1/keys/{body['id']}"
    assert made.headers["cache-control"] == "no-store"
    assert tokens.key_id(body.pop("secret")) == body["id"]
    shown = admin.get(made.headers["location"]).json()
    assert shown == {**body, "expires_at": body["expires_at"]}
    assert (shown["scopes"], shown["project"], shown["last_used_at"]) == (["jobs:read", "jobs:write"], "alpha", None)
    assert [each["id"] for each in admin.get("/v1/keys?limit=1").json()["data"]] == [body["id"]]
    assert admin.delete(f"/v1/keys/{body['id']}").json() == {"id": body["id"], "object": "deleted", "deleted": True}
    for method in ("GET", "DELETE"):
        assert admin.request(method, f"/v1/keys/{body['id']}").status_code == 404


def test_use_is_shown(admin: TestClient, built_app: FastAPI) -> None:
    body = admin.post("/v1/keys", json={"scopes": ["jobs:read"]}).json()
    assert client_of(built_app, body["secret"]).get("/v1/jobs").status_code == 200
    assert admin.get(f"/v1/keys/{body['id']}").json()["last_used_at"] is not None


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"scopes": []}, 422, "scopes"),
        ({"scopes": ["jobs"]}, 422, "scopes.0"),
        ({"scopes": ["jobs:read"], "project": "omega"}, 422, "project"),
        ({"scopes": ["jobs:read"], "expires_at": "2020-01-01T00:00:00Z"}, 422, "expires_at"),
        ({"scopes": ["jobs:read"], "expires_at": "2099-01-01T00:00:00"}, 422, "expires_at"),
        ({"scopes": ["code:run"]}, 403, "code:run"),
    ],
)
def test_what_no_key_can_be(admin: TestClient, body: dict[str, object], status: int, param: str) -> None:
    answer = admin.post("/v1/keys", json=body)
    assert (answer.status_code, answer.json()["param"]) == (status, param)


def test_a_repeated_post_makes_one_key_and_keeps_no_secret(admin: TestClient, services: Services) -> None:
    send = {"json": {"scopes": ["jobs:read"]}, "headers": {"idempotency-key": "k"}}
    first, second = (admin.post("/v1/keys", **send) for _ in range(2))  # type: ignore[arg-type]
    assert first.json().pop("secret")
    assert second.json() == {**first.json(), "secret": None}
    assert second.headers["idempotent-replayed"] == "true"


def test_a_job_that_names_data_elsewhere_needs_to_write_datasets(built_app: FastAPI, services: Services) -> None:
    client = client_of(built_app, new_key(services, "alpha", "jobs:write")[1])
    answer = client.post(
        "/v1/jobs?validate_only=true", json={**spec("x"), "dataset": {"uri": "https://a.example/x.npz"}}
    )
    assert (answer.status_code, answer.json()["param"]) == (403, "datasets:write")


def test_an_unfinished_key_is_bad(built_app: FastAPI, services: Services) -> None:
    key_id, secret = new_key(services, "alpha", "admin")
    over = clock.now() - timedelta(seconds=1)
    services.database.write(lambda session: setattr(session.get_one(ApiKey, key_id), "expires_at", over))
    answer = client_of(built_app, secret).get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (401, "bad_key")
    assert "expired" in answer.json()["detail"]


def test_the_audit_log_is_filtered_and_paged(admin: TestClient) -> None:
    for name in ("a", "b", "c"):
        admin.post("/v1/families", json={"name": name})
    admin.delete("/v1/families/a")
    made = admin.get("/v1/audit?action=family.create&limit=2").json()
    assert [row["target"] for row in made["data"]] == ["c", "b"]
    rest = admin.get("/v1/audit", params={"action": "family.create", "limit": 2, "after": made["next_cursor"]}).json()
    assert [row["target"] for row in rest["data"]] == ["a"]
    assert admin.get("/v1/audit", params={"after": made["next_cursor"]}).status_code == 422
    both = admin.get("/v1/audit?action=family.create&action=family.delete&target=a").json()["data"]
    assert [row["action"] for row in both] == ["family.delete", "family.create"]
    assert admin.get("/v1/audit?actor=nobody").json()["data"] == []


def test_data_that_a_job_brings_is_recorded_too(admin: TestClient) -> None:
    job = {**spec("x"), "dataset": {"builtin": "digits"}, "task": "classification"}
    for path, actions in (
        ("/v1/jobs?validate_only=true", ["dataset.register"]),
        ("/v1/jobs", ["job.submit", "dataset.register"]),
    ):
        assert admin.post(path, json=job).status_code < 300
        assert [row["action"] for row in admin.get("/v1/audit").json()["data"]][: len(actions)] == actions


def test_what_an_address_or_a_request_id_may_say(admin: TestClient) -> None:
    good = admin.post("/v1/families", json={"name": "a"}, headers={"x-request-id": "trace-7.a:b_c"})
    assert good.headers["x-request-id"] == "trace-7.a:b_c"
    assert admin.get("/v1/audit?limit=1").json()["data"][0]["request_id"] == "trace-7.a:b_c"
    for odd in ("a b", "x" * 65, "é", "a\tb", "%0d%0aX-Evil:1", ""):
        answer = admin.get("/v1/jobs", headers={"x-request-id": odd.encode()})  # type: ignore[dict-item]
        assert re.fullmatch(r"req_[0-9a-z]{26}", answer.headers["x-request-id"])


def test_the_service_starts_elsewhere_once_it_has_a_key(services: Services, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url=services.settings.database_url, host="0.0.0.0")
    with pytest.raises(RefusesToStart, match="warpadam keys create"):
        create_app(settings, services.database)
    key_id, _ = new_key(services, "alpha", "jobs:read")
    create_app(settings, services.database)
    with pytest.raises(RefusesToStart, match="loopback only"):
        create_app(settings.model_copy(update={"auth": "off"}), services.database)
    services.database.write(lambda session: setattr(session.get_one(ApiKey, key_id), "revoked_at", clock.now()))
    with pytest.raises(RefusesToStart):
        create_app(settings, services.database)


def test_a_database_without_tables_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(RefusesToStart, match="db upgrade"):
        create_app(Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/new.db", host="0.0.0.0"))


def test_while_the_database_is_away_nobody_enters(plain_client: TestClient) -> None:
    """Whether keys are wanted cannot be known, so it is not assumed that they are not."""
    assert isinstance(plain_client.app, FastAPI)
    with plain_client.app.state.services.database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE api_keys RENAME TO hidden"))
    answer = plain_client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    assert plain_client.get("/healthz").status_code == 200


def test_secrets_are_in_no_log_error_event_row_or_example(
    built_app: FastAPI, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    world = build(built_app, services, "alpha")
    made = world.client.post("/v1/keys", json={"scopes": ["jobs:write"]}, headers={"idempotency-key": "k"}).json()
    given = [made["secret"], world.client.headers["authorization"].removeprefix("Bearer ")]
    wrong = tokens.new(made["id"])
    told = [world.client.post("/v1/keys", json={"scopes": ["jobs:write"]}, headers={"idempotency-key": "k"}).text]
    for secret in (*given, wrong):
        client = client_of(built_app, secret)
        told += [client.get(path).text for path in ("/v1/jobs", "/v1/keys", "/v1/nothing", "/v1/audit", "/metrics")]
        told.append(client.post("/v1/jobs", json={"family": 1}).text)
        told.append(client.post("/v1/jobs", content=b"{", headers={"content-type": "application/json"}).text)
    events = world.client.get(f"/v1/jobs/{world.ids['job_id']}/events").text
    description = json.dumps(built_app.openapi())
    with services.database.engine.connect() as connection:
        names = ("api_keys", "audit", "idempotency_keys", "events", "jobs", "projects")
        rows = [str(connection.execute(text(f"SELECT * FROM {name}")).all()) for name in names]
    for place in (*told, events, description, caplog.text, *rows, *map(repr, (services, keys.Known))):
        assert tokens.PATTERN.search(place) is None
        for secret in (*given, wrong):
            assert secret.rpartition("_")[2][:20] not in place


def test_requests_are_limited_by_project(built_app: FastAPI, services: Services, anyone: TestClient) -> None:
    use(services, requests_per_minute=3)
    one, other = (client_of(built_app, new_key(services, "alpha", "jobs:read")[1]) for _ in range(2))
    stranger = client_of(built_app, new_key(services, "omega", "jobs:read")[1])
    services.access.buckets.clock = lambda: 0.0  # however slow this machine is, nothing comes back meanwhile
    first = one.get("/v1/jobs")
    assert first.headers["ratelimit-policy"] == '"project";q=3;w=60'
    assert first.headers["ratelimit"] == '"project";r=2;t=0'
    assert [other.get("/v1/jobs").status_code for _ in range(2)] == [200, 200]
    refused = one.get("/v1/jobs")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["retry-after"] == "20"
    assert stranger.get("/v1/jobs").status_code == 200
    assert "ratelimit" not in anyone.get("/healthz").headers


def test_quotas_over_http(built_app: FastAPI, services: Services, admin: TestClient) -> None:
    dataset = admin.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()
    use(services, quota_queued_jobs=1, quota_storage_bytes=dataset["size"] + 3000)
    assert admin.post("/v1/jobs", json=spec(dataset["id"])).status_code == 201
    for path in ("/v1/jobs", "/v1/jobs?validate_only=true"):
        refused = admin.post(path, json=spec(dataset["id"]))
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert int(refused.headers["retry-after"]) > 0
    told = admin.post("/v1/datasets", files={"file": ("b.npz", npz(rows=400))})
    untold = admin.post(
        "/v1/checkpoints", content=iter([b"x" * 2000] * 3), headers={"content-type": "application/octet-stream"}
    )
    assert [told.json()["code"], untold.json()["code"]] == ["quota_exceeded"] * 2
    assert len(admin.get("/v1/datasets").json()["data"]) == 1


def test_each_quota_is_told_with_when_to_come_again(built_app: FastAPI, services: Services, admin: TestClient) -> None:
    """A resume takes a place in the queue as a submission does; a P takes room; GPUs come back with the next month."""
    dataset = admin.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()
    paused = admin.post("/v1/jobs", json=spec(dataset["id"])).json()["id"]
    admin.post(f"/v1/jobs/{paused}/pause")
    admin.post("/v1/families", json={"name": "patches"})
    use(services, quota_queued_jobs=1, quota_gpu_seconds=0, quota_storage_bytes=dataset["size"] + 10)
    gpus = spec(dataset["id"], resources={"gpus_per_worker": 1})
    of_gpus = admin.post("/v1/jobs", json=gpus)
    queued = admin.post("/v1/jobs", json=spec(dataset["id"]))
    assert queued.status_code == 201
    resumed = admin.post(f"/v1/jobs/{paused}/resume")
    of_room = admin.post("/v1/families/patches/warps", files={"file": ("p", warp_file())})
    for refused, word in ((of_gpus, "GPU-seconds"), (resumed, "queued jobs"), (of_room, "bytes")):
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert word in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) > 0
    assert of_gpus.json()["param"] == "resources.gpus_per_worker"
    admin.post(f"/v1/jobs/{queued.json()['id']}/cancel")
    assert admin.post(f"/v1/jobs/{paused}/resume").json()["state"] == "queued"


def test_a_listener_is_sent_away_when_its_key_ends(
    built_app: FastAPI, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.hub.WELCOME_S", 0.0)
    world = build(built_app, services, "alpha")
    running = world.client.post("/v1/jobs", json=world.calls["/v1/jobs", "post"].json).json()["id"]
    key_id, _ = new_key(services, "alpha", "jobs:read")
    is_welcome = services.access.watching(Caller("alpha", key_id))
    assert is_welcome()
    world.client.delete(f"/v1/keys/{key_id}")
    assert not is_welcome()
    monkeypatch.setattr(services.access, "watching", lambda _caller: is_welcome)
    answer = world.client.get(f"/v1/jobs/{running}/events", headers={"accept": "text/event-stream"})
    assert "event: end" not in answer.text  # it ends although the job has not
