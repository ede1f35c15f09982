"""INSERT that writes over the row with the same primary key, on SQLite and PostgreSQL alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.models import Base


def upsert(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes `rows`, each naming all columns."""
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    keys = [column.name for column in inspect(model).primary_key]
    statement = dialect.insert(model.__table__)
    new = {name: value for name, value in statement.excluded.items() if name not in keys}
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), list(rows))
