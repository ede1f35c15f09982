"""What serves the service itself: stored answers, the cluster's snapshot."""

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class IdempotencyKey(Base):
    """The stored answer of an executed POST; `status` is None while the first request is in flight."""

    __tablename__ = "idempotency_keys"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    path: Mapped[str] = mapped_column(String(400), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int | None]
    headers: Mapped[Json | None]
    body: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(index=True)


class Snapshot(Base):
    """What the dispatcher last saw of the cluster; one row per dispatcher."""

    __tablename__ = "snapshots"

    dispatcher: Mapped[str] = mapped_column(String(64), primary_key=True)
    data: Mapped[Json]
    at: Mapped[datetime]


class Receipt(Base):
    """The last writing transaction of one connection to PostgreSQL (service/db/receipts.py)."""

    __tablename__ = "receipts"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sequence: Mapped[int]
    at: Mapped[datetime] = mapped_column(index=True)
