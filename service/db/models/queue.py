"""What the queue remembers beside its jobs."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base


class ProjectUsage(Base):
    """What a project has used of the cluster lately: shares of it times seconds, halved after each half-life."""

    __tablename__ = "project_usage"

    project: Mapped[str] = mapped_column(String(64), primary_key=True)
    share_seconds: Mapped[float]
    at: Mapped[datetime]
    """When it was that much."""
