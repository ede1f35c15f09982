"""Webhooks of a project: made, looked at, changed, removed. How they are told is in `service.deliveries`."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from service import audit, deliveries, events
from service.access import Caller
from service.db import webhook_queries
from service.db.models import Delivery, Webhook
from service.deliveries import SECRET_PREFIX
from service.errors import InvalidRequest, InvalidState, NotFound, QuotaExceeded
from service.ids import new_id
from service.outbound import Guard, Refused
from service.pages import Page, PageRequest, paginate
from service.settings import Settings

MOST = 20
"""Of one project: each event becomes a row for each of them."""
OVERLAP = timedelta(hours=24)
"""So long the secret before signs too, once there is a new one."""
_SECRET_BYTES = 32


def schemes(settings: Settings) -> tuple[str, ...]:
    return ("https", "http") if settings.webhooks_http else ("https",)


def check_url(settings: Settings, guard: Guard, url: str) -> None:
    """Looks where it leads, so it belongs before a transaction. Raises InvalidRequest (param `url`)."""
    try:
        guard.check(url, schemes(settings))
    except Refused as error:
        raise InvalidRequest(f"This URL cannot be told of events: {error}.", param="url") from error


def create(session: Session, caller: Caller, url: str, types: Sequence[str], now: datetime) -> Webhook:
    """`types` empty: all events. The row's `secret` is to be shown this once. Raises QuotaExceeded."""
    if webhook_queries.count(session, caller.project) >= MOST:
        raise QuotaExceeded(f"A project has at most {MOST} webhooks: delete one.", retry_after_s=60)
    row = Webhook(
        id=new_id("wh"),
        project=caller.project,
        url=url,
        events=_in_order(types),
        secret=_new_secret(),
        enabled=True,
        created_at=now,
    )
    session.add(row)
    audit.record(session, caller, "webhook.create", row.id, {"events": row.events}, now=now)
    return row


def _in_order(types: Sequence[str]) -> list[str]:
    return [each for each in events.TYPES if each in types]


def _new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()


def get(session: Session, project: str, webhook_id: str) -> Webhook:
    """Raises NotFound."""
    row = webhook_queries.find(session, project, webhook_id)
    if row is None:
        raise NotFound(f"There is no webhook {webhook_id}.")
    return row


def list_(session: Session, project: str, page: PageRequest) -> Page[Webhook]:
    """Newest first."""
    statement = webhook_queries.of_project(project)
    return paginate(session, statement, Webhook.id, page, newest_first=True, filters={"project": project})


def update(
    session: Session,
    caller: Caller,
    webhook_id: str,
    now: datetime,
    *,
    url: str | None = None,
    types: Sequence[str] | None = None,
    enabled: bool | None = None,
) -> Webhook:
    """Changes what is not None; `types` empty: all events. Raises NotFound.

    What is still to be sent goes to the new URL; of a webhook that is disabled it is given up. Enabled again, it starts
    with a clean slate: failures from before do not count.
    """
    row = _locked(session, caller.project, webhook_id)
    if url is not None:
        row.url = url
    if types is not None:
        row.events = _in_order(types)
    if enabled is not None and enabled != row.enabled:
        row.enabled, row.failing_since = enabled, None
        row.disabled_reason = None if enabled else "it was disabled by hand"
    session.flush()
    if not row.enabled:
        webhook_queries.give_up(session, row.id, f"the webhook was disabled: {row.disabled_reason}", now)
    # What is given is named, not shown: receivers put tokens into their URLs.
    given = {"url": url, "events": types, "enabled": enabled}
    changed = [name for name, value in given.items() if value is not None]
    audit.record(session, caller, "webhook.update", row.id, {"changed": changed}, now=now)
    return row


def rotate(session: Session, caller: Caller, webhook_id: str, now: datetime) -> Webhook:
    """Gives it a new secret; for `OVERLAP` the one before signs too. Raises NotFound."""
    row = _locked(session, caller.project, webhook_id)
    row.old_secret, row.old_secret_until, row.secret = row.secret, now + OVERLAP, _new_secret()
    audit.record(session, caller, "webhook.rotate", row.id, now=now)
    return row


def send_test(session: Session, caller: Caller, webhook_id: str, now: datetime) -> Delivery:
    """Has a message sent that tells of nothing. Raises NotFound, and InvalidState for one that is disabled."""
    row = _locked(session, caller.project, webhook_id)
    if not row.enabled:
        raise InvalidState(f"Webhook {webhook_id} is disabled ({row.disabled_reason}): enable it first.")
    delivery = deliveries.enqueue_test(session, row, now)
    audit.record(session, caller, "webhook.test", row.id, {"delivery": delivery.id}, now=now)
    return delivery


def _locked(session: Session, project: str, webhook_id: str) -> Webhook:
    row = webhook_queries.lock(session, project, webhook_id)
    return get(session, project, webhook_id) if row is None else row


def list_deliveries(session: Session, project: str, webhook_id: str, page: PageRequest) -> Page[Delivery]:
    """Newest first; those that ended a week ago are not there any more. Raises NotFound."""
    get(session, project, webhook_id)
    statement = webhook_queries.deliveries_of(webhook_id)
    return paginate(session, statement, Delivery.id, page, newest_first=True, filters={"webhook": webhook_id})


def delivery(session: Session, project: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Raises NotFound, also where it ended a week ago."""
    row = webhook_queries.delivery(session, get(session, project, webhook_id).id, delivery_id)
    if row is None:
        raise NotFound(f"Webhook {webhook_id} has no delivery {delivery_id}.")
    return row


def delete(session: Session, caller: Caller, webhook_id: str, now: datetime) -> None:
    """Nothing more is sent to it. Raises NotFound."""
    get(session, caller.project, webhook_id)
    webhook_queries.remove(session, webhook_id)
    audit.record(session, caller, "webhook.delete", webhook_id, now=now)
