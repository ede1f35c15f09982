"""Datasets."""

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base, Json


class Dataset(Base):
    __tablename__ = "datasets"
    __table_args__ = (
        Index("ix_datasets_project", "project", "id"),
        Index("ix_datasets_state", "state", "inspect_until"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    project: Mapped[str] = mapped_column(String(64))
    name: Mapped[str | None] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    """inspecting, ready or invalid."""
    options: Mapped[Json]
    """DatasetOptions as registered, plus `builtin` and `part` where it is one."""
    uri: Mapped[str | None] = mapped_column(Text)
    """Where its bytes are: a path in the storage for uploads (`uploaded`), an outside URI, None for built-ins."""
    uploaded: Mapped[bool] = mapped_column(default=False)
    sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    size: Mapped[int | None]
    info: Mapped[Json | None]
    """What was understood (service.data.DatasetInfo): shapes, types, classes, columns."""
    error: Mapped[str | None] = mapped_column(Text)
    inspector: Mapped[str | None] = mapped_column(String(40))
    """Whose inspection this is, while it is `inspecting` and somebody does it."""
    inspect_until: Mapped[datetime | None]
    """Nobody else takes it before; later, its inspector is lost."""
    inspections: Mapped[int] = mapped_column(default=0)
    """How often somebody began."""
    inspected_bytes: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
