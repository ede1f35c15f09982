"""Files that nothing names any more."""

from datetime import datetime

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from service.db.models.base import Base


class CondemnedFile(Base):
    """A file of the storage that no row named at `at`; it is removed a while later, unless a row names it again."""

    __tablename__ = "condemned_files"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
