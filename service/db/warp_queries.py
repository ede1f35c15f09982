"""SELECTs over the versions of a family's P and the aliases that point to them."""

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from service.db.models import Alias, AliasChange, WarpVersion


def newest_number(session: Session, family_id: int) -> int:
    """0 where the family has no P."""
    return session.scalar(select(func.max(WarpVersion.version)).where(WarpVersion.family_id == family_id)) or 0


def newest(session: Session, family_id: int) -> WarpVersion | None:
    return session.scalar(versions(family_id).order_by(WarpVersion.version.desc()).limit(1))


def newest_learned(session: Session, family_id: int) -> WarpVersion | None:
    """The newest version that statistics were solved for: not an uploaded one."""
    learned = versions(family_id).where(WarpVersion.statistics_digest.is_not(None))
    return session.scalar(learned.order_by(WarpVersion.version.desc()).limit(1))


def versions(family_id: int) -> Select[WarpVersion]:
    return select(WarpVersion).where(WarpVersion.family_id == family_id)


def aliases(family_id: int) -> Select[Alias]:
    return select(Alias).where(Alias.family_id == family_id)


def alias_changes(family_id: int, name: str) -> Select[AliasChange]:
    return select(AliasChange).where(AliasChange.family_id == family_id, AliasChange.name == name)
