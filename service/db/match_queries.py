"""SQL of matches: who waits, and whose turn it is."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from service.db.models import FamilyMatch

UNFINISHED = ("queued", "running")


def find(session: Session, project: str, match_id: str) -> FamilyMatch | None:
    statement = select(FamilyMatch).where(FamilyMatch.id == match_id, FamilyMatch.project == project)
    return session.scalars(statement).one_or_none()


def unfinished(session: Session, project: str) -> int:
    rows = select(func.count()).where(FamilyMatch.state.in_(UNFINISHED), FamilyMatch.project == project)
    return session.scalar(rows) or 0


def claimable(session: Session, now: datetime, most: int) -> Sequence[FamilyMatch]:
    """Those that nobody measures, of each project the oldest; first whose project had its last turn longest ago."""
    rank = func.row_number().over(partition_by=FamilyMatch.project, order_by=FamilyMatch.id).label("rank")
    ranked = select(FamilyMatch.id, rank).where(_is_free(now)).subquery()
    last = func.max(FamilyMatch.started_at).label("last")
    turns = select(FamilyMatch.project, last).group_by(FamilyMatch.project).subquery()
    statement = (
        select(FamilyMatch)
        .join(ranked, ranked.c.id == FamilyMatch.id)
        .join(turns, turns.c.project == FamilyMatch.project)
        .where(ranked.c.rank == 1)
        .order_by(func.coalesce(turns.c.last, 0), FamilyMatch.id)
    )
    return session.scalars(statement.limit(most)).all()


def _is_free(now: datetime) -> ColumnElement[bool]:
    lost = and_(FamilyMatch.state == "running", FamilyMatch.lease_until <= now)
    return or_(FamilyMatch.state == "queued", lost)


def take(session: Session, row: FamilyMatch, now: datetime, until: datetime) -> FamilyMatch | None:
    """The claim: one conditional UPDATE. The row, now at its next attempt; None where somebody else was first."""
    taken = session.execute(
        update(FamilyMatch)
        .where(FamilyMatch.id == row.id, FamilyMatch.attempts == row.attempts, _is_free(now))
        .values(state="running", attempts=FamilyMatch.attempts + 1, lease_until=until)
        .returning(FamilyMatch.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    return session.get(FamilyMatch, row.id, populate_existing=True) if taken else None


def held(session: Session, match_id: str, attempt: int) -> FamilyMatch | None:
    """The row, locked, as long as it is still at this attempt."""
    statement = select(FamilyMatch).where(
        FamilyMatch.id == match_id, FamilyMatch.attempts == attempt, FamilyMatch.state == "running"
    )
    return session.scalars(statement.with_for_update()).one_or_none()


def forget(session: Session, before: datetime) -> None:
    """Those that ended before then."""
    old = delete(FamilyMatch).where(FamilyMatch.state.not_in(UNFINISHED), FamilyMatch.finished_at < before)
    session.execute(old.execution_options(synchronize_session=False))
