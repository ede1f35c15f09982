"""INSERT that leaves an existing row alone: two processes that make the same thing at once both find it made."""

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.models import Base


def insert_new(session: Session, model: type[Base], **values: object) -> bool:
    """Inserts a row of `model` unless one with the same unique key is there; whether it did.

    On PostgreSQL it waits for a concurrent insertion of the same key to end, and then sees its row.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    key = inspect(model).primary_key
    statement = dialect.insert(model).values(**values).on_conflict_do_nothing().returning(*key)
    return session.execute(statement).first() is not None
