"""Which files of the storage the database names, whatever the table; and what refers to nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ForeignKeyConstraint, String, Table, and_, exists, inspect, select
from sqlalchemy.orm import Session

from service.db.models import Alias, Base, Dataset, Family, WarpVersion


@dataclass(frozen=True)
class NamedFile:
    """A path that a row has; `size` where the row has that too."""

    owner: str
    path: str
    size: int | None


def named_files(session: Session) -> Iterator[NamedFile]:
    """Every column `path`, or `…_path`, of every table, and the datasets that were uploaded.

    Of a database with an older schema, those that it has. A column may hold paths of other kinds: whoever asks keeps
    those that the storage could have.
    """
    inspector = inspect(session.connection())
    present = set(inspector.get_table_names())
    for table in Base.metadata.sorted_tables:
        if table.name in present:
            there = {column["name"] for column in inspector.get_columns(table.name)}
            for column in table.columns:
                if column.name in there and _holds_paths(column):
                    yield from _of_column(session, table, column, has_collected="collected_at" in there)
    uploads = select(Dataset.id, Dataset.uri, Dataset.size).where(Dataset.uploaded, Dataset.uri.is_not(None))
    for dataset_id, uri, size in session.execute(uploads):
        yield NamedFile(f"datasets {dataset_id}", str(uri), size)


def _holds_paths(column: Column[Any]) -> bool:
    return isinstance(column.type, String) and (column.name == "path" or column.name.endswith("_path"))


def _of_column(session: Session, table: Table, column: Column[Any], *, has_collected: bool) -> Iterator[NamedFile]:
    sized = column.name == "path" and "size" in table.columns
    key = list(table.primary_key.columns)
    columns = [*key, column, *([table.c.size] if sized else [])]
    statement = select(*columns).where(column.is_not(None))
    if has_collected:
        statement = statement.where(table.c.collected_at.is_(None))
    for row in session.execute(statement):
        owner = " ".join([table.name, *(str(part) for part in row[: len(key)])])
        yield NamedFile(owner, row[len(key)], row[len(key) + 1] if sized else None)


def broken_references(session: Session) -> Iterator[str]:
    """One line for each foreign key with rows that refer to nothing, and each alias of no version.

    PostgreSQL enforces foreign keys, unless somebody loaded data around them; SQLite while each writer asks it to.
    """
    for table in Base.metadata.sorted_tables:
        for constraint in sorted(table.foreign_key_constraints, key=lambda each: str(each.name)):
            yield from _broken(session, table, constraint)
    gone = ~exists().where(WarpVersion.family_id == Alias.family_id, WarpVersion.version == Alias.version)
    aliases = select(Family.name, Alias.name, Alias.version).join(Family, Family.id == Alias.family_id).where(gone)
    for family, name, version in session.execute(aliases):
        yield f"aliases: {family}@{name} is version {version}, which is not there"


def _broken(session: Session, table: Table, constraint: ForeignKeyConstraint) -> Iterator[str]:
    parent = constraint.referred_table.alias()
    matches = [parent.c[element.column.name] == element.parent for element in constraint.elements]
    given = [column.is_not(None) for column in constraint.columns]
    key = list(table.primary_key.columns)
    rows = session.execute(select(*key).where(*given, ~exists().where(and_(*matches))).limit(5)).all()
    if rows:
        names = ", ".join(" ".join(str(part) for part in row) for row in rows)
        yield f"{table.name}: {names} (or more) name something in {constraint.referred_table.name} that is not there"
