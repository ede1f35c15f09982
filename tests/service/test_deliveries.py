"""Webhooks' outbox: written with the event, claimed once, retried, given up."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from service import audit, clock, deliveries, events, webhooks
from service.access import Caller
from service.db.models import Delivery, Webhook
from service.deliveries import Outcome, Parcel
from service.errors import NotFound, QuotaExceeded
from service.pages import PageRequest
from tests.service.kit import NOW, PROJECT, Bench

ADMIN = Caller(PROJECT, "key_admin", frozenset({"admin"}))
START = clock.now() + timedelta(hours=1)
"""After all that the tests write."""
GOOD, BAD = Outcome(204), Outcome(500)


def hook(bench: Bench, *types: str, url: str = "https://example.com/", project: str = PROJECT) -> Webhook:
    caller = Caller(project, "key_admin", frozenset({"admin"}))
    return bench.write(lambda session: webhooks.create(session, caller, url, types, NOW))


def rows(bench: Bench, webhook: Webhook) -> Sequence[Delivery]:
    statement = select(Delivery).where(Delivery.webhook_id == webhook.id).order_by(Delivery.created_at, Delivery.id)
    return bench.read(lambda session: session.scalars(statement).all())


def claimed(bench: Bench, seconds: float = 1e6, most: int = 99, **how: object) -> list[Parcel]:
    return bench.write(
        lambda s: deliveries.claim(s, START + timedelta(seconds=seconds), most, **{"per_webhook": 99, **how})
    )  # type: ignore[arg-type]


def settled(bench: Bench, parcel: Parcel, outcome: Outcome, seconds: float = 0) -> None:
    bench.write(
        lambda session: deliveries.settle(session, parcel, outcome, START + timedelta(seconds=seconds), draw=0.0)
    )


def test_an_event_and_its_deliveries_are_one_transaction(bench: Bench) -> None:
    everything, ends, foreign = hook(bench), hook(bench, "end"), hook(bench, project="elsewhere")
    job = bench.submit()
    bench.ask("cancel", job.id)
    told = [event.id for event in bench.events(job.id)]
    assert sorted(row.event_id for row in rows(bench, everything)) == sorted(told)
    assert [row.event_type for row in rows(bench, ends)] == ["end"]
    assert rows(bench, foreign) == []

    def broken(session: object) -> None:
        events.add(session, job.id, "warning", "never")  # type: ignore[arg-type]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.write(broken)
    assert len(rows(bench, everything)) == len(told)


def test_what_is_sent_is_signed_as_standard_webhooks_says(bench: Bench) -> None:
    row = hook(bench, "job.state")
    job = bench.submit()
    (parcel,) = claimed(bench)
    headers = deliveries.headers(parcel, NOW)
    key = base64.b64decode(row.secret.removeprefix("whsec_"))
    assert len(key) == 32
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{parcel.body}".encode()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-id"] == bench.events(job.id)[0].id
    assert json.loads(parcel.body)["job_id"] == job.id


def test_the_published_example_of_a_signature() -> None:
    """From the specification's own test suite."""
    found = deliveries.signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        '{"test": 2432232314}',
    )
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_claim_is_a_lease_and_a_fence(bench: Bench) -> None:
    row = hook(bench, "job.state")
    bench.submit()
    (first,) = claimed(bench, 0)
    assert claimed(bench, 59) == []
    (second,) = claimed(bench, 61)
    assert (first.id, first.attempt, second.attempt) == (second.id, 1, 2)
    settled(bench, first, GOOD)  # too late: it is the second's by now
    assert rows(bench, row)[0].state == "pending"
    settled(bench, second, GOOD)
    assert rows(bench, row)[0].state == "delivered"
    assert claimed(bench) == []


def test_two_dispatchers_never_take_the_same(bench: Bench) -> None:
    hook(bench, "job.state")
    bench.submit()
    with bench.database.read() as session:
        stale = session.scalars(select(Delivery)).one()
    (won,) = claimed(bench, 0)
    from service.db import webhook_queries

    assert not bench.write(lambda session: webhook_queries.claim(session, stale, START))
    assert won.id == stale.id


def test_one_webhook_takes_few_places_and_a_busy_one_none(bench: Bench) -> None:
    slow, other = hook(bench, "job.state"), hook(bench, "job.state")
    for _ in range(3):
        bench.submit()
    taken = [parcel.webhook_id for parcel in claimed(bench, per_webhook=2)]
    assert sorted(taken) == sorted([slow.id, slow.id, other.id, other.id])
    assert [parcel.webhook_id for parcel in claimed(bench, 2e6, busy=[slow.id])] == [other.id] * 3


def test_it_is_tried_eight_times_over_a_day(bench: Bench) -> None:
    row = hook(bench, "job.state")
    bench.submit()
    at, tries = 0.0, 0
    while parcels := claimed(bench, at):
        settled(bench, parcels[0], BAD, at)
        tries += 1
        at = (rows(bench, row)[0].due_at - START).total_seconds()
    assert tries == deliveries.MAX_TRIES
    assert 20 * 3600 < at < 26 * 3600
    (delivery,) = rows(bench, row)
    assert (delivery.state, delivery.last_status, delivery.last_error) == ("failed", 500, "it answered 500")
    assert deliveries.pause(1, 1) > deliveries.pause(1, 0) > deliveries.pause(1, -1)


@pytest.mark.parametrize(("outcome", "seconds"), [(BAD, 3 * 86_400), (Outcome(410), 0)])
def test_a_hopeless_webhook_is_disabled(bench: Bench, outcome: Outcome, seconds: float) -> None:
    row = hook(bench, "job.state")
    bench.submit()
    bench.submit()
    first, second = claimed(bench, 0)
    if seconds:
        settled(bench, first, BAD)
        assert bench.read(lambda session: session.get_one(Webhook, row.id)).enabled
        settled(bench, second, outcome, seconds)
    else:
        settled(bench, first, outcome)
    found = bench.read(lambda session: session.get_one(Webhook, row.id))
    assert not found.enabled
    assert found.disabled_reason
    assert {each.state for each in rows(bench, row)} == {"failed"}
    assert claimed(bench, 1e7) == []
    noted = bench.read(lambda session: audit.list_(session, PROJECT, PageRequest(), actions=["webhook.disable"]))
    assert [(each.actor, each.target) for each in noted.items] == [("service", row.id)]
    bench.submit()
    assert len(rows(bench, row)) == 2


def test_a_success_forgives(bench: Bench) -> None:
    row = hook(bench, "job.state")
    bench.submit()
    bench.submit()
    first, second = claimed(bench, 0)
    settled(bench, first, BAD)
    settled(bench, second, GOOD, 60)
    found = bench.read(lambda session: session.get_one(Webhook, row.id))
    assert (found.failing_since, found.last_status, found.last_error) == (None, 204, None)


def test_deleting_takes_what_was_still_to_be_sent(bench: Bench) -> None:
    row = hook(bench)
    bench.submit()
    (parcel,) = claimed(bench)
    bench.write(lambda session: webhooks.delete(session, ADMIN, row.id, NOW))
    settled(bench, parcel, GOOD)
    assert bench.read(lambda session: session.scalar(select(func.count()).select_from(Delivery))) == 0
    with pytest.raises(NotFound):
        bench.read(lambda session: webhooks.get(session, PROJECT, row.id))
    bench.submit()


def test_what_ended_a_week_ago_is_forgotten(bench: Bench) -> None:
    row = hook(bench, "job.state")
    bench.submit()
    (parcel,) = claimed(bench)
    settled(bench, parcel, GOOD)
    for days, left in ((6, 1), (8, 0)):
        bench.write(lambda session, days=days: deliveries.forget(session, START + timedelta(days=days)))  # type: ignore[misc]
        assert len(rows(bench, row)) == left


def test_a_project_has_so_many_at_most(bench: Bench) -> None:
    for _ in range(webhooks.MOST):
        hook(bench)
    with pytest.raises(QuotaExceeded):
        hook(bench)
