"""SQL of what names files of the storage, and of files that nothing names any more."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.db.insert import insert_new
from service.db.models import (
    Checkpoint,
    CondemnedFile,
    Contribution,
    Dataset,
    Job,
    JobSum,
    StartContribution,
    StartVersion,
)
from service.states import TERMINAL

NAMING = (
    Checkpoint.path,
    Checkpoint.state_path,
    Contribution.path,
    JobSum.path,
    StartVersion.path,
    StartContribution.path,
    Job.base_path,
    Dataset.uri,
)
"""Every column that names a file of the storage. A test finds those that are missing here."""

_ENDED = sorted(str(state) for state in TERMINAL)


def named(session: Session, paths: Collection[str]) -> set[str]:
    """Those of the paths that something names: rows that are there, and jobs that may still need them."""
    wanted = list(paths)
    shas = [path.rsplit("/", 1)[-1] for path in wanted]
    statements = [select(column).where(column.in_(wanted), *_still(column)) for column in NAMING[:6]]
    statements += [
        select(Job.base_path).where(Job.base_path.in_(wanted), Job.state.not_in(_ENDED)),
        # What a start follows from is how far its contributors moved from where they began.
        select(Job.base_path)
        .join(StartContribution, StartContribution.job_id == Job.id)
        .where(Job.base_path.in_(wanted), StartContribution.collected_at.is_(None)),
        # By the sha256, which has an index; a deleted dataset is needed by no job that has not ended.
        select(Dataset.uri).where(Dataset.sha256.in_(shas), Dataset.uploaded, Dataset.deleted_at.is_(None)),
    ]
    found = {path for statement in statements for path in session.scalars(statement) if path is not None}
    return found & set(wanted)


def _still(column: InstrumentedAttribute[Any]) -> tuple[ColumnElement[bool], ...]:
    """A row whose file was collected names it no more."""
    collected = getattr(column.class_, "collected_at", None)
    return () if collected is None else (collected.is_(None),)


def condemn(session: Session, paths: Iterable[str], now: datetime) -> None:
    for path in paths:
        insert_new(session, CondemnedFile, path=path, at=now)


def condemned(session: Session, paths: Collection[str]) -> set[str]:
    return set(session.scalars(select(CondemnedFile.path).where(CondemnedFile.path.in_(list(paths)))))


def due(session: Session, before: datetime, most: int) -> Sequence[str]:
    """Files that were condemned before that time, the oldest first."""
    rows = select(CondemnedFile.path).where(CondemnedFile.at <= before)
    return session.scalars(rows.order_by(CondemnedFile.at, CondemnedFile.path).limit(most)).all()


def forget(session: Session, paths: Collection[str]) -> None:
    session.execute(delete(CondemnedFile).where(CondemnedFile.path.in_(list(paths))))
