"""Webhooks of one's own project: who is told of its jobs' events."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.deps import Admin, PageDep, ReadSession, ServicesDep
from api.idempotency import Made, OnceDep
from api.schemas.common import Deleted, Listing
from api.schemas.webhooks import Delivery, NewWebhook, Webhook, WebhookCreate
from service import clock, webhooks
from service.outbound import Guard

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201, response_model=NewWebhook)
def create_webhook(body: WebhookCreate, services: ServicesDep, caller: Admin, once: OnceDep) -> Response:
    """From now on events of this project's jobs are sent to `url`, signed by `secret`, which is shown this once."""

    def work(session: Session) -> Made:
        row = webhooks.create(session, caller, body.url, body.events or (), clock.now())
        kept = NewWebhook.with_secret(row, None)
        return Made(NewWebhook.with_secret(row, row.secret), 201, f"/v1/webhooks/{row.id}", kept=kept)

    def prepare() -> Callable[[Session], Made]:
        webhooks.check_url(services.settings, Guard.of(services.settings), body.url)
        return work

    answer = once.plan(body, prepare)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("")
def list_webhooks(session: ReadSession, caller: Admin, page: PageDep) -> Listing[Webhook]:
    """Newest first."""
    found = webhooks.list_(session, caller.project, page)
    return Listing[Webhook].of_page(found, [Webhook.of(row) for row in found.items])


@router.get("/{webhook_id}")
def get_webhook(session: ReadSession, caller: Admin, webhook_id: str) -> Webhook:
    return Webhook.of(webhooks.get(session, caller.project, webhook_id))


@router.get("/{webhook_id}/deliveries")
def list_deliveries(session: ReadSession, caller: Admin, webhook_id: str, page: PageDep) -> Listing[Delivery]:
    """Newest first: what was sent, what is still to be sent, and what the receiver said last."""
    found = webhooks.deliveries(session, caller.project, webhook_id, page)
    return Listing[Delivery].of_page(found, [Delivery.of(row) for row in found.items])


@router.delete("/{webhook_id}")
def delete_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Deleted:
    """Nothing more is sent to it."""
    services.database.write(lambda session: webhooks.delete(session, caller, webhook_id, clock.now()))
    return Deleted(id=webhook_id)
