"""SELECTs over the versions of a family's P and the aliases that point to them."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from service.db.models import Alias, AliasChange, Json, WarpVersion


def newest_number(session: Session, family_id: int) -> int:
    """0 where the family has no P."""
    return session.scalar(select(func.max(WarpVersion.version)).where(WarpVersion.family_id == family_id)) or 0


def newest(session: Session, family_id: int) -> WarpVersion | None:
    return session.scalar(versions(family_id).order_by(WarpVersion.version.desc()).limit(1))


def newest_learned(session: Session, family_id: int) -> WarpVersion | None:
    """The newest version that statistics were solved for: not an uploaded one."""
    learned = versions(family_id).where(WarpVersion.statistics_digest.is_not(None))
    return session.scalar(learned.order_by(WarpVersion.version.desc()).limit(1))


def newest_learned_from(session: Session, family_ids: Sequence[int]) -> dict[int, list[Json]]:
    """Family → the jobs behind its newest version that statistics were solved for."""
    learned = select(WarpVersion.family_id, func.max(WarpVersion.version).label("version")).where(
        WarpVersion.family_id.in_(family_ids), WarpVersion.statistics_digest.is_not(None)
    )
    newest = learned.group_by(WarpVersion.family_id).subquery()
    same = (WarpVersion.family_id == newest.c.family_id) & (WarpVersion.version == newest.c.version)
    rows = session.execute(select(WarpVersion.family_id, WarpVersion.jobs).join(newest, same))
    return dict(rows.all())


def aliased(session: Session, family_ids: Sequence[int], names: Sequence[str]) -> dict[tuple[int, str], int]:
    """(family, alias) → the version that it points to, of the aliases that there are."""
    found = select(Alias.family_id, Alias.name, Alias.version)
    rows = session.execute(found.where(Alias.family_id.in_(family_ids), Alias.name.in_(names)))
    return {(family, name): version for family, name, version in rows}


def keeping(session: Session, family_id: int, *, lock: bool = False) -> Sequence[WarpVersion]:
    """Versions that have their file, in order; with `lock` nobody counts on one of them before we have ended."""
    statement = versions(family_id).where(WarpVersion.collected_at.is_(None)).order_by(WarpVersion.version)
    if lock:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    return session.scalars(statement).all()


def counted_on(session: Session, row: WarpVersion) -> bool:
    """Whether the version's file is there, and until the transaction ends nobody collects it."""
    session.refresh(row, with_for_update={"read": True})
    return row.collected_at is None


def versions(family_id: int) -> Select[WarpVersion]:
    return select(WarpVersion).where(WarpVersion.family_id == family_id)


def aliases(family_id: int) -> Select[Alias]:
    return select(Alias).where(Alias.family_id == family_id)


def alias_changes(family_id: int, name: str) -> Select[AliasChange]:
    return select(AliasChange).where(AliasChange.family_id == family_id, AliasChange.name == name)
