"""The client's HTTP against a real server on loopback that answers what a test tells it to."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from warpadam.client import Client
from warpadam.sdk import errors


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
    script.answers = [(503, {"Retry-After": "0"}, {}), (201, {}, {"id": "job_1", "state": "queued"})]
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
        (200, {}, {"data": [{"name": "a"}], "has_more": True, "next_cursor": "c1"}),
        (200, {}, {"data": [{"name": "b"}], "has_more": False, "next_cursor": None}),
    ]
    with Client(script.url) as client:
        assert [family["name"] for family in client.families.list()] == ["a", "b"]
    assert script.asked[1][1].endswith("after=c1")


def test_a_damaged_download_is_refused(script: Script) -> None:
    script.answers = [(200, {"ETag": '"0000"'}, b"damaged")]
    with Client(script.url) as client, pytest.raises(errors.WarpAdamError, match="damaged"):
        client.warps.content("patches@3")
    assert script.asked[0][1] == "/v1/families/patches/warps/3/content"


def test_events_go_on_after_the_stream_broke_off(script: Script) -> None:
    def event(number: int, kind: str) -> bytes:
        data = json.dumps({"id": f"evt_{number}", "type": kind})
        return f"id: evt_{number}\nevent: {kind}\ndata: {data}\n\n".encode()

    stream = {"Content-Type": "text/event-stream"}
    script.answers = [
        (200, {}, {"id": "job_1", "state": "running"}),
        (200, stream, event(1, "job.state")),
        (503, {}, {}),
        (200, stream, event(2, "progress") + event(3, "end")),
    ]
    with Client(script.url) as client:
        seen = [found["id"] for found in client.jobs.get("job_1").events(follow=True)]
    assert seen == ["evt_1", "evt_2", "evt_3"]
    assert script.asked[-1][2]["Last-Event-ID"] == "evt_1"


def test_a_post_that_is_still_being_executed_is_asked_again(script: Script) -> None:
    script.answers = [(409, {}, {"code": "idempotency_in_flight"}), (201, {}, {"id": "job_1", "state": "queued"})]
    with Client(script.url) as client:
        assert client.jobs.create(family="f").id == "job_1"


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[1]"])
def test_another_server_is_recognised(script: Script, content: bytes) -> None:
    script.answers = [(200, {}, content)]
    with Client(script.url) as client, pytest.raises(errors.ConnectionFailed, match="no WarpAdam service"):
        client.jobs.get("job_1")


def test_a_stream_that_has_nothing_more_ends(script: Script) -> None:
    script.answers = [(200, {}, {"id": "job_1", "state": "succeeded"}), (204, {}, b"")]
    with Client(script.url) as client:
        assert list(client.jobs.get("job_1").logs(follow=True)) == []
