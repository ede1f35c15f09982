"""Statements about datasets that are still to be inspected."""

from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from service.db.models import Dataset


def next_inspection(session: Session, now: datetime) -> str | None:
    """The oldest that nobody inspects at present."""
    statement = select(Dataset.id).where(
        Dataset.state == "inspecting",
        Dataset.deleted_at.is_(None),
        or_(Dataset.inspect_until.is_(None), Dataset.inspect_until <= now),
    )
    return session.scalars(statement.order_by(Dataset.id).limit(1)).one_or_none()


def take(session: Session, id_: str, inspector: str, now: datetime, until: datetime) -> Dataset | None:
    """The row, now this inspector's; None where another was first."""
    taken = session.execute(
        update(Dataset)
        .where(
            Dataset.id == id_,
            Dataset.state == "inspecting",
            or_(Dataset.inspect_until.is_(None), Dataset.inspect_until <= now),
        )
        .values(inspector=inspector, inspect_until=until, inspections=Dataset.inspections + 1, inspected_bytes=0)
        .returning(Dataset.id)
    ).one_or_none()
    return session.get(Dataset, id_, populate_existing=True) if taken else None


def held(session: Session, id_: str, inspector: str) -> Dataset | None:
    """The row, as long as the inspection is this inspector's; nobody else changes it until the transaction ends."""
    statement = select(Dataset).where(
        Dataset.id == id_,
        Dataset.state == "inspecting",
        Dataset.inspector == inspector,
        Dataset.deleted_at.is_(None),
    )
    return session.scalars(statement.with_for_update()).one_or_none()
