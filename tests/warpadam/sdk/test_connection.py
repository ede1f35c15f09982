"""The client's HTTP against a real server on loopback that answers what a test tells it to."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from api.errors import STATUS
from service.errors import ServiceError
from warpadam.client import Client
from warpadam.sdk import errors

LOST = -1
"""As a status: the connection ends without an answer."""
AT = "2026-01-31T12:00:00.000Z"


def a_job(state: str) -> dict[str, object]:
    """The least that every service sends of a job."""
    return {"id": "job_1", "state": state, "spec": {}, "created_at": AT}


def a_family(name: str) -> dict[str, object]:
    return {"name": name, "promotion": "latest", "created_at": AT}


@dataclass
class Script:
    """What to answer, first to last, and what was asked."""

    answers: list[tuple[int, dict[str, str], object]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.asked.append((self.command, self.path, dict(self.headers), body))
            status, headers, content = script.answers.pop(0)
            if status == LOST:
                self.close_connection = True
                return
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 - the server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_post_is_tried_again_under_one_idempotency_key(script: Script) -> None:
    script.answers = [(503, {"Retry-After": "0"}, {}), (201, {}, a_job("queued"))]
    with Client(script.url) as client:
        job = client.jobs.create(family="f", task="regression")
    assert job.id == "job_1"
    keys = [headers["Idempotency-Key"] for _, _, headers, _ in script.asked]
    assert len(keys) == 2
    assert keys[0] == keys[1]


def test_an_error_carries_what_the_service_said(script: Script) -> None:
    problem = {
        "code": "invalid_request",
        "detail": "optimizer.lr: must be greater than 0 (and 1 more)",
        "param": "optimizer.lr",
        "errors": [
            {"param": "optimizer.lr", "message": "must be greater than 0"},
            {"param": "x", "message": "unknown"},
        ],
    }
    script.answers = [(422, {"Content-Type": "application/problem+json"}, problem)]
    with Client(script.url) as client, pytest.raises(errors.BadRequest) as caught:
        client.jobs.create({"family": "f"})
    assert caught.value.param == "optimizer.lr"
    assert "x: unknown" in str(caught.value)
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.AuthenticationError),
        (403, errors.PermissionDenied),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (412, errors.Conflict),
        (422, errors.BadRequest),
        (500, errors.ServerError),
    ],
)
def test_each_status_has_its_error(script: Script, status: int, kind: type[errors.ApiError]) -> None:
    script.answers = [(status, {}, b"not even json")]
    with Client(script.url, tries=1) as client, pytest.raises(kind, match="not even json"):
        client.jobs.get("job_1")


def test_no_service_is_told_as_such() -> None:
    with (
        Client("http://127.0.0.1:9", tries=1) as client,
        pytest.raises(errors.ConnectionFailed, match="warpadam serve"),
    ):
        client.ready()


def test_lists_go_on_over_pages(script: Script) -> None:
    script.answers = [
        (200, {}, {"data": [a_family("a")], "has_more": True, "next_cursor": "c1"}),
        (200, {}, {"data": [a_family("b")], "has_more": False, "next_cursor": None}),
    ]
    with Client(script.url) as client:
        assert [family.name for family in client.families.list()] == ["a", "b"]
    assert script.asked[1][1].endswith("after=c1")


def test_events_go_on_after_the_stream_broke_off(script: Script) -> None:
    def event(number: int, kind: str) -> bytes:
        data = json.dumps({"id": f"evt_{number}", "type": kind, "level": "info", "message": "", "created_at": AT})
        return f"id: evt_{number}\nevent: {kind}\ndata: {data}\n\n".encode()

    stream = {"Content-Type": "text/event-stream"}
    script.answers = [
        (200, {}, a_job("running")),
        (200, stream, event(1, "job.state")),
        (503, {}, {}),
        (200, stream, event(2, "progress") + event(3, "end")),
    ]
    with Client(script.url) as client:
        seen = [found.id for found in client.jobs.get("job_1").events(follow=True)]
    assert seen == ["evt_1", "evt_2", "evt_3"]
    assert script.asked[-1][2]["Last-Event-ID"] == "evt_1"


def test_an_answer_that_took_too_long_is_not_waited_for(script: Script) -> None:
    script.answers = [(429, {"Retry-After": "3600"}, {"code": "quota_exceeded", "detail": "GPU-seconds are used up"})]
    with Client(script.url) as client, pytest.raises(errors.QuotaExceeded) as caught:
        client.jobs.get("job_1")
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_retry_after_is_honoured_as_seconds_and_as_a_date(
    script: Script, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    script.answers = [
        (status, {"Retry-After": "7"}, {}),
        (status, {"Retry-After": date}, {}),
        (status, {"Retry-After": "soon"}, {}),
        (200, {}, a_job("queued")),
    ]
    with Client(script.url) as client:
        client.jobs.get("job_1")
    assert slept[0] == 7
    assert 30 < slept[1] <= 40
    assert 0 < slept[2] <= 5


def test_what_is_wrong_is_not_tried_again(script: Script) -> None:
    script.answers = [(500, {}, {}), (200, {}, a_job("queued"))]
    with Client(script.url) as client, pytest.raises(errors.ServerError):
        client.jobs.get("job_1")
    assert len(script.asked) == 1


def test_a_delete_whose_answer_got_lost_is_done(script: Script) -> None:
    script.answers = [(LOST, {}, {}), (404, {}, {"code": "not_found"}), (404, {}, {"code": "not_found"})]
    with Client(script.url) as client:
        client.jobs.delete("job_1")
        with pytest.raises(errors.NotFound):
            client.jobs.delete("job_1")


def test_fields_of_a_newer_service_are_kept_and_of_an_older_one_absent(script: Script) -> None:
    script.answers = [(200, {}, {**a_job("dreaming"), "mood": "blue"}), (200, {}, {"id": "job_1"})]
    with Client(script.url) as client:
        job = client.jobs.get("job_1")
        assert (job.state, job.is_over, job.raw["mood"], job.result, job.attempts) == (
            "dreaming",
            False,
            "blue",
            None,
            [],
        )
        with pytest.raises(errors.UnexpectedAnswer, match="without state"):
            client.jobs.get("job_1")


GENERAL = {"not_found", "conflict", "rate_limited", "bad_key"}
"""Codes whose error is that of their status."""


def test_every_code_of_the_service_has_its_error() -> None:
    codes = {each.code for each in STATUS if each is not ServiceError} - GENERAL
    for code in codes:
        status = next(int(status) for kind, status in STATUS.items() if kind.code == code)
        error = errors.from_answer(status, {"code": code})
        assert type(error) not in errors._BY_STATUS.values(), code
    assert type(errors.from_answer(409, {"code": "not_invented_yet"})) is errors.Conflict
    assert type(errors.from_answer(500, {"code": "in_use"})) is errors.ServerError


def test_a_post_that_is_still_being_executed_is_asked_again(script: Script) -> None:
    script.answers = [(409, {}, {"code": "idempotency_in_flight"}), (201, {}, a_job("queued"))]
    with Client(script.url) as client:
        assert client.jobs.create(family="f").id == "job_1"


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[1]"])
def test_another_server_is_recognised(script: Script, content: bytes) -> None:
    script.answers = [(200, {}, content)]
    with Client(script.url) as client, pytest.raises(errors.ConnectionFailed, match="no WarpAdam service"):
        client.jobs.get("job_1")


def test_a_stream_that_has_nothing_more_ends(script: Script) -> None:
    script.answers = [(200, {}, a_job("succeeded")), (204, {}, b"")]
    with Client(script.url) as client:
        assert list(client.jobs.get("job_1").logs(follow=True)) == []
