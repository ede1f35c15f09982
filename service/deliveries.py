"""Events on their way to webhooks: written with the event, sent by whichever dispatcher claims them.

A delivery is a row of the event's own transaction, so none is lost and none tells of what did not happen. It is tried
until the receiver answers 2xx: at least once, so receivers keep the ids that they have seen. A claim counts `attempts`
up and is a lease; the outcome is written under the condition that nobody has claimed it again. Messages are signed as
https://www.standardwebhooks.com describes.
"""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from service import audit
from service.access import SERVICE, Caller
from service.db import webhook_queries
from service.db.models import Delivery, Event, Webhook
from service.ids import new_id

MAX_TRIES = 8
FIRST_PAUSE_S, GROWTH = 15.0, 4.0
"""Pauses of 15 s, 1 min, 4 min, … 17 h between tries: 23 hours in all."""
JITTER = 0.1
LEASE = timedelta(seconds=60)
"""Longer than any try takes (workers/courier.py)."""
PATIENCE = timedelta(days=3)
"""A webhook with nothing but failures for so long is disabled."""
KEPT = timedelta(days=7)
"""So long one can look at deliveries that have ended."""
GONE = 410
TEST = "test"
"""The type of a message that tells of nothing: it is sent where a user asks for it, whatever `events` says."""
SECRET_PREFIX = "whsec_"
_MAX_ERROR = 200


@dataclass(frozen=True)
class Parcel:
    """A claimed delivery, with all that sending it needs."""

    id: str
    webhook_id: str
    attempt: int
    url: str
    secrets: tuple[str, ...]
    """Those that sign: the newest, and for a while the one before."""
    message_id: str
    body: str


@dataclass(frozen=True)
class Outcome:
    """Of one try: the status that was answered, or why there was no answer."""

    status: int | None
    error: str | None = None

    @property
    def is_good(self) -> bool:
        return self.error is None and self.status is not None and 200 <= self.status < 300

    @property
    def reason(self) -> str | None:
        if self.is_good:
            return None
        return (self.error or f"it answered {self.status}")[:_MAX_ERROR]


def enqueue(session: Session, event: Event) -> None:
    """A delivery of this event for each webhook of the job's project that wants it."""
    for webhook in webhook_queries.listening(session, event.job_id):
        if webhook.events and event.type not in webhook.events:
            continue
        delivery = Delivery(
            id=new_id("dlv"),
            webhook_id=webhook.id,
            event_id=event.id,
            event_type=event.type,
            body=body_of(event),
            state="pending",
            due_at=event.created_at,
            created_at=event.created_at,
        )
        session.add(delivery)
    session.flush()


def enqueue_test(session: Session, webhook: Webhook, now: datetime) -> Delivery:
    """A message of the type `test`, as an event would look; it is the webhook's only."""
    message_id = new_id("evt")
    told: dict[str, Any] = {
        "id": message_id,
        "object": "event",
        "type": TEST,
        "level": "info",
        "message": "A test: nothing happened.",
        "data": {},
        "created_at": _rfc3339(now),
        "job_id": None,
    }
    delivery = Delivery(
        id=new_id("dlv"),
        webhook_id=webhook.id,
        event_id=message_id,
        event_type=TEST,
        body=json.dumps(told, separators=(",", ":")),
        state="pending",
        attempts=0,
        due_at=now,
        created_at=now,
    )
    session.add(delivery)
    session.flush()
    return delivery


def body_of(event: Event) -> str:
    """The event as the API shows it, and which job's it is."""
    told = {
        "id": event.id,
        "object": "event",
        "type": event.type,
        "level": event.level,
        "message": event.message,
        "data": event.data,
        "created_at": _rfc3339(event.created_at),
        "job_id": event.job_id,
    }
    return json.dumps(told, separators=(",", ":"))


def _rfc3339(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def signature(secret: str, message_id: str, timestamp: int, body: str) -> str:
    """`v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`; the key is what follows `whsec_`, decoded."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{message_id}.{timestamp}.{body}".encode()
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def headers(parcel: Parcel, now: datetime) -> dict[str, str]:
    timestamp = int(now.timestamp())
    signatures = [signature(each, parcel.message_id, timestamp, parcel.body) for each in parcel.secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "warpadam-webhooks/1",
        "webhook-id": parcel.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def any_due(session: Session, now: datetime, busy: Collection[str] = ()) -> bool:
    return bool(webhook_queries.due(session, now, 1, per_webhook=1, busy=busy))


def claim(
    session: Session, now: datetime, most: int, *, per_webhook: int = 2, busy: Collection[str] = ()
) -> list[Parcel]:
    """Takes deliveries that are due, for `LEASE`: at most `most`, `per_webhook` of each webhook, and none of `busy`."""
    found = webhook_queries.due(session, now, most, per_webhook=per_webhook, busy=busy)
    mine = [each for each in found if webhook_queries.claim(session, each, now + LEASE)]
    return [_parcel(each, session.get_one(Webhook, each.webhook_id), now) for each in mine]


def _parcel(row: Delivery, webhook: Webhook, now: datetime) -> Parcel:
    signing: tuple[str, ...] = (webhook.secret,)
    if webhook.old_secret and webhook.old_secret_until and now < webhook.old_secret_until:
        signing += (webhook.old_secret,)
    return Parcel(row.id, webhook.id, row.attempts + 1, webhook.url, signing, row.event_id, row.body)


def settle(session: Session, parcel: Parcel, outcome: Outcome, now: datetime, draw: float | None = None) -> None:
    """Writes how a try went, unless the delivery is somebody else's by now. `draw` in [-1, 1] is the jitter."""
    held = webhook_queries.held(session, parcel.id, parcel.attempt)
    if held is None:
        return
    delivery, webhook = held
    delivery.last_status = webhook.last_status = outcome.status
    delivery.last_error = webhook.last_error = outcome.reason
    webhook.last_delivery_at = now
    if outcome.is_good:
        delivery.state, delivery.finished_at, webhook.failing_since = "delivered", now, None
        return
    webhook.failing_since = webhook.failing_since or now
    if parcel.attempt >= MAX_TRIES:
        delivery.state, delivery.finished_at = "failed", now
    else:
        delivery.due_at = now + pause(parcel.attempt, random.uniform(-1, 1) if draw is None else draw)
    _disable_if_hopeless(session, webhook, outcome, now)


def pause(tries: int, draw: float) -> timedelta:
    """Before the next try, after so many."""
    return timedelta(seconds=FIRST_PAUSE_S * GROWTH ** (tries - 1) * (1 + JITTER * draw))


def _disable_if_hopeless(session: Session, webhook: Webhook, outcome: Outcome, now: datetime) -> None:
    is_gone = outcome.status == GONE
    if not is_gone and (webhook.failing_since is None or now - webhook.failing_since < PATIENCE):
        return
    why = "it answered 410 Gone" if is_gone else f"nothing but failures for {PATIENCE.days} days"
    webhook.enabled, webhook.disabled_reason = False, why
    session.flush()
    webhook_queries.give_up(session, webhook.id, f"the webhook was disabled: {why}", now)
    audit.record(session, Caller(webhook.project, SERVICE), "webhook.disable", webhook.id, {"reason": why}, now=now)


def forget(session: Session, now: datetime) -> None:
    """Drops what ended longer than `KEPT` ago."""
    webhook_queries.forget(session, now - KEPT)
