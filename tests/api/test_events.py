"""Events as a list and as they come."""

import json
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import anyio
import pytest
from starlette.testclient import TestClient

from api import hub, sse
from api.deps import Services
from tests.api.attempt import Attempt
from tests.api.made import npz, spec

STREAM = {"accept": "text/event-stream"}


@pytest.fixture
def path(client: TestClient) -> str:
    dataset = client.post("/v1/datasets", files={"file": ("a.npz", npz())}).json()["id"]
    return f"/v1/jobs/{client.post('/v1/jobs', json=spec(dataset)).json()['id']}/events"


def _events(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if "data:" in block]
    return [dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":")) for block in blocks]


def test_the_list_is_oldest_first(client: TestClient, services: Services, path: str) -> None:
    Attempt.begin(services.database).tell("hello")
    events = client.get(path).json()["data"]
    assert [each["type"] for each in events] == ["job.state", "job.state", "job.state", "progress"]
    assert set(events[0]) == {"id", "object", "type", "level", "message", "data", "created_at"}
    page = client.get(f"{path}?limit=1").json()
    rest = client.get(f"{path}?after={page['next_cursor']}").json()
    assert page["data"] + rest["data"] == events


def test_the_stream_is_the_list_and_ends(client: TestClient, services: Services, path: str) -> None:
    Attempt.begin(services.database).finish(result={})
    answer = client.get(path, headers=STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-store"
    streamed = _events(answer.text)
    listed = client.get(path).json()["data"]
    assert [json.loads(each["data"]) for each in streamed] == listed
    assert [(each["id"], each["event"]) for each in streamed] == [(each["id"], each["type"]) for each in listed]
    assert streamed[-1]["event"] == "end"


def test_a_stream_goes_on_after_the_last_id(client: TestClient, services: Services, path: str) -> None:
    Attempt.begin(services.database).finish(result={})
    ids = [each["id"] for each in client.get(path).json()["data"]]
    answer = client.get(path, headers={**STREAM, "last-event-id": ids[1]})
    assert [each["id"] for each in _events(answer.text)] == ids[2:]
    unknown = client.get(path, headers={**STREAM, "last-event-id": "evt_unknown"})
    assert [each["id"] for each in _events(unknown.text)] == ids


def test_who_has_seen_the_end_is_told_to_stay_away(client: TestClient, services: Services, path: str) -> None:
    Attempt.begin(services.database).finish(result={})
    last = client.get(path).json()["data"][-1]["id"]
    assert client.get(path, headers={**STREAM, "last-event-id": last}).status_code == 204


def test_events_come_while_the_stream_is_open(
    client: TestClient, services: Services, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "POLL_S", 0.01)
    monkeypatch.setattr(sse, "HEARTBEAT_S", 0.02)
    attempt = Attempt.begin(services.database)
    seen: list[str] = []
    with client.stream("GET", path, headers=STREAM) as answer:
        lines = answer.iter_lines()
        seen += _until(lines, "event: job.state", times=3)
        seen += _until(lines, ": heartbeat")
        attempt.tell("now")
        seen += _until(lines, "event: progress")
        threading.Thread(target=attempt.finish, kwargs={"result": {}}).start()
        seen += _until(lines, "event: end")
    assert seen[0] == ": connected"


def _until(lines: Iterator[str], wanted: str, times: int = 1) -> list[str]:
    seen: list[str] = []
    while seen.count(wanted) < times:
        seen.append(next(lines))
    return seen


def test_a_stream_of_no_job_is_404(client: TestClient) -> None:
    answer = client.get("/v1/jobs/job_none/events", headers=STREAM)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_stream_ends_when_its_client_goes_away() -> None:
    polls: list[int] = []
    polled = threading.Event()
    hubs = hub.Hubs()

    def read(cursors: Mapping[str, int]) -> dict[str, list[hub.Item]]:
        polls.extend(cursors.values())
        polled.set()
        return {}

    async def gone() -> dict[str, str]:
        await anyio.to_thread.run_sync(polled.wait, 10)
        return {"type": "http.disconnect"}

    async def ignore(_message: MutableMapping[str, Any]) -> None:
        return

    async def listen() -> None:
        answer = sse.stream(hubs, hub.Source("events", read), "job", 7, sse.Listener())
        with anyio.fail_after(10):
            await answer({"type": "http", "method": "GET"}, gone, ignore)
        assert hubs.here().is_idle

    anyio.run(listen)
    assert set(polls) == {7}
