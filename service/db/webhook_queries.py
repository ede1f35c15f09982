"""SQL of webhooks and their deliveries."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from service.db.models import Delivery, Job, Webhook


def find(session: Session, project: str, webhook_id: str) -> Webhook | None:
    return session.scalar(select(Webhook).where(Webhook.id == webhook_id, Webhook.project == project))


def lock(session: Session, project: str, webhook_id: str) -> Webhook | None:
    """The webhook, for this transaction alone: no event adds a delivery to it meanwhile."""
    statement = select(Webhook).where(Webhook.id == webhook_id, Webhook.project == project).with_for_update()
    return session.scalar(statement.execution_options(populate_existing=True))


def delivery(session: Session, webhook_id: str, delivery_id: str) -> Delivery | None:
    return session.scalar(select(Delivery).where(Delivery.id == delivery_id, Delivery.webhook_id == webhook_id))


def of_project(project: str) -> Select[Webhook]:
    return select(Webhook).where(Webhook.project == project)


def count(session: Session, project: str) -> int:
    return session.scalar(select(func.count()).where(Webhook.project == project)) or 0


def remove(session: Session, webhook_id: str) -> None:
    """With what was still to be sent to it. Its row is locked first: an event may just be adding a delivery."""
    session.execute(select(Webhook.id).where(Webhook.id == webhook_id).with_for_update())
    session.execute(delete(Delivery).where(Delivery.webhook_id == webhook_id))
    session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def deliveries_of(webhook_id: str) -> Select[Delivery]:
    return select(Delivery).where(Delivery.webhook_id == webhook_id)


def listening(session: Session, job_id: str) -> Sequence[Webhook]:
    """Enabled webhooks of the job's project. None of them can be removed before the transaction ends."""
    statement = (
        select(Webhook)
        .join(Job, Job.project == Webhook.project)
        .where(Job.id == job_id, Webhook.enabled.is_(True))
        .order_by(Webhook.id)
        .with_for_update(of=Webhook, read=True, key_share=True)
    )
    return session.scalars(statement).all()


def due(session: Session, now: datetime, most: int, *, per_webhook: int, busy: Collection[str]) -> Sequence[Delivery]:
    """The oldest that are due, at most `per_webhook` of each webhook and none of those in `busy`."""
    rank = func.row_number().over(partition_by=Delivery.webhook_id, order_by=(Delivery.due_at, Delivery.id))
    ranked = select(Delivery.id, rank.label("rank")).where(Delivery.state == "pending", Delivery.due_at <= now)
    if busy:
        ranked = ranked.where(Delivery.webhook_id.not_in(busy))
    first = ranked.subquery()
    chosen = select(Delivery).join(first, first.c.id == Delivery.id).where(first.c.rank <= per_webhook)
    return session.scalars(chosen.order_by(Delivery.due_at, Delivery.id).limit(most)).all()


def claim(session: Session, delivery: Delivery, until: datetime) -> bool:
    """Takes it until then, unless somebody else just did."""
    statement = (
        update(Delivery)
        .where(Delivery.id == delivery.id, Delivery.attempts == delivery.attempts, Delivery.state == "pending")
        .values(attempts=Delivery.attempts + 1, due_at=until)
        .returning(Delivery.id)
    )
    return session.execute(statement.execution_options(synchronize_session=False)).first() is not None


def held(session: Session, delivery_id: str, attempt: int) -> tuple[Delivery, Webhook] | None:
    """The delivery and its webhook, locked, if it still is at this attempt."""
    webhook_id = session.scalar(select(Delivery.webhook_id).where(Delivery.id == delivery_id))
    webhook = session.get(Webhook, webhook_id, with_for_update={"key_share": True}) if webhook_id else None
    if webhook is None:
        return None
    mine = (Delivery.id == delivery_id, Delivery.attempts == attempt, Delivery.state == "pending")
    delivery = session.scalar(select(Delivery).where(*mine).with_for_update())
    return None if delivery is None else (delivery, webhook)


def give_up(session: Session, webhook_id: str, why: str, now: datetime) -> None:
    """All that was still to be sent to it."""
    session.execute(
        update(Delivery)
        .where(Delivery.webhook_id == webhook_id, Delivery.state == "pending")
        .values(state="failed", last_error=why, finished_at=now)
        .execution_options(synchronize_session=False)
    )


def forget(session: Session, before: datetime) -> None:
    """Deliveries that ended before then."""
    session.execute(
        delete(Delivery)
        .where(Delivery.state != "pending", Delivery.finished_at < before)
        .execution_options(synchronize_session=False)
    )
