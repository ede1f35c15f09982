"""Webhooks of a project: made, looked at, removed. How they are told is in `service.deliveries`."""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from service import audit, events
from service.access import Caller
from service.db import webhook_queries
from service.db.models import Delivery, Webhook
from service.deliveries import SECRET_PREFIX
from service.errors import InvalidRequest, NotFound, QuotaExceeded
from service.ids import new_id
from service.outbound import Guard, Refused
from service.pages import Page, PageRequest, paginate
from service.settings import Settings

MOST = 20
"""Of one project: each event becomes a row for each of them."""
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
        events=[each for each in events.TYPES if each in types],
        secret=SECRET_PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode(),
        enabled=True,
        created_at=now,
    )
    session.add(row)
    audit.record(session, caller, "webhook.create", row.id, {"events": row.events}, now=now)
    return row


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


def deliveries(session: Session, project: str, webhook_id: str, page: PageRequest) -> Page[Delivery]:
    """Newest first; those that ended a week ago are not there any more. Raises NotFound."""
    get(session, project, webhook_id)
    statement = webhook_queries.deliveries_of(webhook_id)
    return paginate(session, statement, Delivery.id, page, newest_first=True, filters={"webhook": webhook_id})


def delete(session: Session, caller: Caller, webhook_id: str, now: datetime) -> None:
    """Nothing more is sent to it. Raises NotFound."""
    get(session, caller.project, webhook_id)
    webhook_queries.remove(session, webhook_id)
    audit.record(session, caller, "webhook.delete", webhook_id, now=now)
