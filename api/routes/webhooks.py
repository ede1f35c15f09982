"""Webhooks of one's own project: who is told of its jobs' events."""

from collections.abc import Callable

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from api.deps import Admin, PageDep, ReadSession, ServicesDep
from api.idempotency import Made, OnceDep
from api.problems import MADE, problems
from api.schemas.common import Deleted, Listing
from api.schemas.webhooks import Delivery, NewWebhook, Webhook, WebhookCreate, WebhookUpdate
from service import clock, webhooks
from service.outbound import Guard

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])


@router.post("", status_code=201, response_model=NewWebhook, responses={201: MADE, **problems("quota_exceeded")})
def create_webhook(body: WebhookCreate, services: ServicesDep, caller: Admin, once: OnceDep) -> Response:
    """From now on events of this project's jobs are sent to `url`, signed by `secret`, which is shown this once."""

    def work(session: Session) -> Made:
        row = webhooks.create(session, caller, body.url, body.events or (), clock.now())
        kept = NewWebhook.with_secret(row, None)
        return Made(NewWebhook.with_secret(row, row.secret), 201, f"/v1/webhooks/{row.id}", kept=kept)

    def prepare() -> Callable[[Session], Made]:
        webhooks.check_url(services.settings, Guard.of(services.settings), body.url)
        return work

    return _unstored(once.plan(body, prepare))


def _unstored(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer


@router.get("")
def list_webhooks(session: ReadSession, caller: Admin, page: PageDep) -> Listing[Webhook]:
    """Newest first."""
    found = webhooks.list_(session, caller.project, page)
    return Listing[Webhook].of_page(found, [Webhook.of(row) for row in found.items])


@router.get("/{webhook_id}")
def get_webhook(session: ReadSession, caller: Admin, webhook_id: str) -> Webhook:
    """Where to, of what, and how the last delivery went; never its secret."""
    return Webhook.of(webhooks.get(session, caller.project, webhook_id))


@router.patch("/{webhook_id}")
def update_webhook(webhook_id: str, body: WebhookUpdate, services: ServicesDep, caller: Admin) -> Webhook:
    """Changes what is given: where to, of what, whether at all.

    What is still to be sent goes to the new URL. A webhook that is enabled again starts afresh.
    """
    given = body.given()
    if given["url"] is not None:
        with services.database.read() as session:
            webhooks.get(session, caller.project, webhook_id)
        webhooks.check_url(services.settings, Guard.of(services.settings), body.url)

    def work(session: Session) -> Webhook:
        return Webhook.of(webhooks.update(session, caller, webhook_id, clock.now(), **given))

    return services.database.write(work)


@router.post("/{webhook_id}/rotate", response_model=NewWebhook)
def rotate_secret(webhook_id: str, caller: Admin, once: OnceDep) -> Response:
    """Gives it a new secret, which is shown this once; for 24 hours each message is signed by the one before too.

    Rotate twice where a secret was seen by others: the one of three ago signs nothing.
    """

    def work(session: Session) -> Made:
        row = webhooks.rotate(session, caller, webhook_id, clock.now())
        return Made(NewWebhook.with_secret(row, row.secret), kept=NewWebhook.with_secret(row, None))

    return _unstored(once.write(None, work))


@router.post(
    "/{webhook_id}/test",
    status_code=201,
    response_model=Delivery,
    responses={201: MADE, **problems("invalid_state")},
)
def test_webhook(webhook_id: str, caller: Admin, once: OnceDep) -> Response:
    """Sends a message of the type `test`, whatever `events` says; how it went is at its `Location`."""

    def work(session: Session) -> Made:
        row = webhooks.send_test(session, caller, webhook_id, clock.now())
        return Made(Delivery.of(row), 201, f"/v1/webhooks/{webhook_id}/deliveries/{row.id}")

    return once.write(None, work)


@router.get("/{webhook_id}/deliveries")
def list_deliveries(session: ReadSession, caller: Admin, webhook_id: str, page: PageDep) -> Listing[Delivery]:
    """Newest first: what was sent, what is still to be sent, and what the receiver said last."""
    found = webhooks.list_deliveries(session, caller.project, webhook_id, page)
    return Listing[Delivery].of_page(found, [Delivery.of(row) for row in found.items])


@router.get("/{webhook_id}/deliveries/{delivery_id}")
def get_delivery(session: ReadSession, caller: Admin, webhook_id: str, delivery_id: str) -> Delivery:
    """One message: how often it was tried, what the receiver said last, when it is tried again."""
    return Delivery.of(webhooks.delivery(session, caller.project, webhook_id, delivery_id))


@router.delete("/{webhook_id}")
def delete_webhook(webhook_id: str, services: ServicesDep, caller: Admin) -> Deleted:
    """Nothing more is sent to it."""
    services.database.write(lambda session: webhooks.delete(session, caller, webhook_id, clock.now()))
    return Deleted(id=webhook_id)
