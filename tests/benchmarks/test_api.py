"""The harness of `make bench-api`: what it counts and computes is right; nothing here is timed."""

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from benchmarks.api import filling, report, wire
from benchmarks.api.filling import Plan
from benchmarks.api.listeners import latencies
from benchmarks.api.numbers import Measured, at_least, at_most, percentile
from service import jobs, metrics
from service.db.session import Database
from service.ids import is_id
from service.pages import PageRequest
from tests.service.kit import Bench

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


@contextmanager
def answering(answer: bytes) -> Iterator[wire.Address]:
    """A server that gives this answer to each request, on any number of connections."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve(connection: socket.socket) -> None:
            with connection:
                while connection.recv(1 << 16):
                    connection.sendall(answer)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()
        listening.shutdown(socket.SHUT_RDWR)


def test_an_answer_is_read_in_whatever_pieces_it_comes() -> None:
    for cut in range(1, len(OK)):
        answer = wire.Answer()
        assert not answer.feed(OK[:cut])
        assert answer.feed(OK[cut:])
        assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("bad", [OK + b"!", b"HTTP/1.1 200 OK\r\n\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_what_is_no_answer_is_told(bad: bytes) -> None:
    with pytest.raises(wire.NotHttp):
        wire.Answer().feed(bad)


def test_load_counts_what_was_answered() -> None:
    with answering(OK) as address:
        found = wire.load(address, lambda number: wire.request("GET", f"/{number}"), connections=3, most=10)
        assert (len(found.latencies), dict(found.statuses), found.body) == (10, {200: 10}, b"hello")
        assert wire.download(address, wire.request("GET", "/"), memoryview(bytearray(3)))[0] == 5
    with answering(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") as address, pytest.raises(wire.NotHttp):
        wire.download(address, wire.request("GET", "/"), memoryview(bytearray(3)))


def test_percentiles_and_goals() -> None:
    values = [float(n) for n in range(1, 101)]
    random.Random(0).shuffle(values)
    assert (percentile(values, 50), percentile(values, 99), percentile([3.0], 99)) == (50, 99, 3)
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    assert (at_least("a", 0.5, "×", 0.5).reached, at_most("b", 51, "ms", 50).reached) == (True, False)


def test_latencies_are_of_the_events_that_were_told() -> None:
    assert latencies({"a": 2.0, "b": 1.0, "old": 9.0}, {"a": 1.5, "b": 1.1, "c": 0.0}) == [0.5, 0.0]


def test_the_report_says_what_was_missed() -> None:
    machine = {"system": "s", "cores": 2, "python": "3", "at": "now", "load": 9.0}
    told = {"machine": machine, "machine_at_the_end": machine, "databases": {"sqlite": "It held 3 jobs."}}
    found = [at_most("slow", 51.0, "ms", 50), Measured("gone", float("nan"), "×", note="no nginx")]
    shown = report.markdown(told, {"sqlite": {"Part": found}})
    assert "| slow | 51.0 ms | ≤ 50 | **missed** |" in shown
    assert "| gone | – |  | no nginx |" in shown
    assert [each["value"] for each in report.as_json(found)] == [51.0, None]


def test_a_plan_is_filled_the_same_way_each_time(database: Database) -> None:
    bench, plan = Bench(database), Plan(jobs=200, points=8_000)
    assert list(filling.job_ids(plan)) == list(filling.job_ids(plan))
    assert all(is_id(id_, "job") for id_, _ in filling.job_ids(plan))
    template = bench.submit()
    found = filling.fill(bench.database, template.id, plan)
    assert found["jobs"] == 201
    assert found["metrics"] == pytest.approx(plan.points, rel=0.05)
    long = filling.long_ids(plan)
    assert len(long) == filling.LONG_JOBS
    points = bench.read(lambda session: metrics.read(session, long[0]))
    assert {name: len(each) for name, each in points.items()} == dict.fromkeys(filling.NAMES, plan.long_steps)
    page = bench.read(lambda session: jobs.list_(session, filling.MINE, PageRequest(100), metadata={"kind": ["sweep"]}))
    assert len(page.items) == 100
    with bench.database.engine.connect() as connection:
        right = "SELECT count(*) FROM jobs WHERE event_seq <> (SELECT count(*) FROM events WHERE job_id = jobs.id)"
        assert connection.scalar(text(right)) == 0
        assert connection.scalar(text("SELECT count(*) FROM jobs WHERE project = 'others'")) == plan.jobs / 10
