"""INSERT that writes over the row with the same primary key, on SQLite and PostgreSQL alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.models import Base

_ROWS_AT_ONCE = 1000  # SQLite takes 32 766 values in a statement, PostgreSQL 65 535


def upsert(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes `rows`, each naming all columns, no two with the same primary key."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    keys = [column.name for column in inspect(model).primary_key]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        statement = dialect.insert(model).values([dict(row) for row in rows[start : start + _ROWS_AT_ONCE]])
        new = {name: value for name, value in statement.excluded.items() if name not in keys}
        session.execute(statement.on_conflict_do_update(index_elements=keys, set_=new))
