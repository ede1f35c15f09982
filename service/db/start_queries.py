"""SELECTs over the versions of a family's starts, and the ledger of final weights behind them."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from service.db.models import Job, StartContribution, StartVersion


def versions(family_id: int, anchors: Iterable[str] = ()) -> Select[StartVersion]:
    statement = select(StartVersion).where(StartVersion.family_id == family_id)
    wanted = list(anchors)
    return statement.where(StartVersion.anchor.in_(wanted)) if wanted else statement


def newest_number(session: Session, family_id: int) -> int:
    """0 where the family has none."""
    return session.scalar(select(func.max(StartVersion.version)).where(StartVersion.family_id == family_id)) or 0


def newest(
    session: Session, family_id: int, anchor: str, *, up_to_warp: int | None = None, has_file: bool = False
) -> StartVersion | None:
    """The newest start of an anchor; with `up_to_warp` among those made when the family's P was no newer than that.

    With `has_file` among those that were not collected, and until the transaction ends nobody collects it.
    """
    statement = versions(family_id, [anchor])
    if has_file:
        statement = statement.where(StartVersion.collected_at.is_(None)).with_for_update(read=True)
    if up_to_warp is not None:
        paired = or_(StartVersion.warp_version.is_(None), StartVersion.warp_version <= up_to_warp)
        statement = statement.where(paired)
    return session.scalar(statement.order_by(StartVersion.version.desc()).limit(1))


def newest_of_each_anchor(session: Session, family_id: int) -> list[StartVersion]:
    """Newest first."""
    numbers = select(func.max(StartVersion.version)).where(StartVersion.family_id == family_id)
    newest_ones = versions(family_id).where(StartVersion.version.in_(numbers.group_by(StartVersion.anchor)))
    return list(session.scalars(newest_ones.order_by(StartVersion.version.desc())))


def newest_before_warp(session: Session, family_id: int, warp_version: int) -> int | None:
    """The newest start that was made when the family's P was no newer than this version."""
    paired = select(func.max(StartVersion.version)).where(
        StartVersion.family_id == family_id, StartVersion.warp_version <= warp_version
    )
    return session.scalar(paired)


def keeping(session: Session, family_id: int, *, lock: bool = False) -> Sequence[StartVersion]:
    """Starts that have their file, in order; with `lock` nobody counts on one of them before we have ended."""
    statement = versions(family_id).where(StartVersion.collected_at.is_(None)).order_by(StartVersion.version)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return session.scalars(statement).all()


def contributions(session: Session, family_id: int) -> Sequence[StartContribution]:
    """All whose weights were not collected."""
    statement = select(StartContribution).where(StartContribution.family_id == family_id)
    return session.scalars(statement.where(StartContribution.collected_at.is_(None))).all()


def of_jobs(session: Session, job_ids: Iterable[str]) -> Sequence[StartContribution]:
    """What these jobs gave back."""
    return session.scalars(select(StartContribution).where(StartContribution.job_id.in_(list(job_ids)))).all()


def began_with(session: Session, job_ids: Iterable[str]) -> set[str]:
    """The files that these jobs began with."""
    paths = session.scalars(select(Job.base_path).where(Job.id.in_(list(job_ids)), Job.base_path.is_not(None)))
    return {path for path in paths if path is not None}


def contribution_count(session: Session, family_id: int) -> int:
    rows = select(func.max(StartContribution.number)).where(StartContribution.family_id == family_id)
    return session.scalar(rows) or 0


def undecided(session: Session, family_id: int) -> list[tuple[StartContribution, Job]]:
    """In the order of their jobs' success, each with its job."""
    statement = (
        select(StartContribution, Job)
        .join(Job, Job.id == StartContribution.job_id)
        .where(StartContribution.family_id == family_id, StartContribution.decided_at.is_(None))
        .order_by(StartContribution.created_at, StartContribution.job_id)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]


def of_round(session: Session, family_id: int, anchor: str, number: int) -> list[StartContribution]:
    """Those that count in a round of an anchor, in order of job id."""
    statement = select(StartContribution).where(
        StartContribution.family_id == family_id,
        StartContribution.anchor == anchor,
        StartContribution.round == number,
    )
    return list(session.scalars(statement.order_by(StartContribution.job_id)))


def last_round(session: Session, family_id: int, anchor: str) -> int:
    """0 where nothing counts yet."""
    statement = select(func.max(StartContribution.round)).where(
        StartContribution.family_id == family_id, StartContribution.anchor == anchor
    )
    return session.scalar(statement) or 0


def anchors_in_rounds(session: Session, family_id: int) -> list[str]:
    statement = select(StartContribution.anchor).where(
        StartContribution.family_id == family_id, StartContribution.round.is_not(None)
    )
    return list(session.scalars(statement.distinct().order_by(StartContribution.anchor)))


def families_waiting(session: Session) -> list[int]:
    """Families with final weights that nobody has decided about."""
    statement = select(StartContribution.family_id).where(StartContribution.decided_at.is_(None))
    return list(session.scalars(statement.distinct()))
