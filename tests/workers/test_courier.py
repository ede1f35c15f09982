"""The courier: what is due goes out, signed; what a receiver does harms nobody else."""

import json
import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select

from service import webhooks
from service.access import Caller
from service.db.models import Delivery, Webhook
from service.deliveries import Outcome, Parcel, signature
from service.outbound import Guard
from service.settings import Settings
from tests.service.kit import NOW, PROJECT, Bench
from tests.service.outbound.receiver import HERE, THIS_MACHINE, Receiver, receiving
from workers import courier
from workers.courier import Courier, send

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LOCAL = Settings(outbound_networks=(THIS_MACHINE,), webhooks_http=True)
ADMIN = Caller(PROJECT, "key_admin", frozenset({"admin"}))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def bench(database: object) -> Bench:
    return Bench(database)  # type: ignore[arg-type]


def parcel(url: str) -> Parcel:
    return Parcel("dlv_1", "wh_1", 1, url, (SECRET,), "evt_1", '{"a":1}')


def hook(bench: Bench, url: str) -> Webhook:
    return bench.write(lambda session: webhooks.create(session, ADMIN, url, ["job.state"], NOW))


def until(bench: Bench, is_so: Callable[[list[Delivery]], bool]) -> list[Delivery]:
    """Runs a courier until the deliveries are as wanted."""
    stop = threading.Event()
    thread = threading.Thread(target=Courier(LOCAL, bench.database, Guard.of(LOCAL)).run, args=(stop,))
    thread.start()
    pause = threading.Event()
    try:
        for _ in range(1000):
            rows = bench.read(lambda session: list(session.scalars(select(Delivery))))
            if is_so(rows):
                return rows
            pause.wait(0.02)
        raise AssertionError([(row.state, row.last_error) for row in rows])
    finally:
        stop.set()
        thread.join(30)


def test_what_is_due_arrives(bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LOOK_EVERY_S", 0.02)
    row = hook(bench, receiver.url)
    jobs = {bench.submit().id for _ in range(5)}
    until(bench, lambda rows: {each.state for each in rows} == {"delivered"})
    assert len(receiver.got) == 5
    assert {json.loads(body)["job_id"] for _, _, body in receiver.got} == jobs
    for _, headers, body in receiver.got:
        signed = signature(row.secret, headers["webhook-id"], int(headers["webhook-timestamp"]), body.decode())
        assert headers["webhook-signature"] == signed


def test_a_failure_waits_for_its_next_try(bench: Bench, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LOOK_EVERY_S", 0.02)
    receiver.status, receiver.body = 503, b"x" * 100_000
    hook(bench, receiver.url)
    bench.submit()
    (row,) = until(bench, lambda rows: rows[0].last_status is not None)
    assert (row.state, row.attempts, row.last_error) == ("pending", 1, "it answered 503")
    assert len(receiver.got) == 1


@pytest.mark.parametrize(("status", "is_good"), [(200, True), (204, True), (302, False), (404, False), (500, False)])
def test_only_2xx_is_success(receiver: Receiver, status: int, is_good: bool) -> None:
    receiver.status, receiver.headers = status, {"Location": receiver.url + "/elsewhere"}
    assert send(HERE, parcel(receiver.url), ("http",)).is_good is is_good
    assert [path for path, _, _ in receiver.got] == ["/hook"]


def test_addresses_inside_are_refused_at_sending() -> None:
    rebinding = Guard(resolve=lambda _host, _port: ["169.254.169.254"])
    outcome = send(rebinding, parcel("https://example.com/"), ("https",))
    assert outcome.status is None
    assert (outcome.reason or "").startswith("refused: ")
    plain = send(HERE, parcel("http://127.0.0.1:9/"), ("https",))
    assert (plain.reason or "").startswith("refused: ")


def test_no_answer_is_told_without_what_lies_behind(receiver: Receiver) -> None:
    port = receiver.port
    nobody = send(HERE, parcel("http://127.0.0.1:1/"), ("http",))
    assert nobody == Outcome(None, "no answer (ConnectError)")
    assert send(HERE, parcel(f"https://127.0.0.1:{port}/"), ("https",)) == nobody
