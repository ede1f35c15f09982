"""SELECTs over families, and the counts that are shown with them. A deleted family has a name like `#7`."""

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.selectable import ForUpdateParameter

from service.db.models import Contribution, Family, Job
from service.states import TERMINAL

FOR_NO_KEY_UPDATE: ForUpdateParameter = {"key_share": True}
"""A lock that lets others insert rows that refer to this one, such as a new job of a family."""

_TERMINAL = sorted(str(state) for state in TERMINAL)


def by_name(session: Session, project: str, name: str) -> Family | None:
    return session.scalar(select(Family).where(Family.project == project, Family.name == name))


def locked(session: Session, family_id: int) -> Family | None:
    """The family, fresh, and ours until the transaction ends (on SQLite every writing transaction is alone anyway)."""
    return session.get(Family, family_id, with_for_update=FOR_NO_KEY_UPDATE, populate_existing=True)


def visible(project: str) -> Select[Family]:
    return select(Family).where(Family.project == project, Family.name.not_like("#%"))


def ids(session: Session) -> Sequence[int]:
    """Of all families, deleted ones too."""
    return session.scalars(select(Family.id).order_by(Family.id)).all()


def newest_first(session: Session, project: str, names: Sequence[str] | None = None) -> Sequence[Family]:
    """All of the project's, or those of these names."""
    statement = visible(project).order_by(Family.id.desc())
    return session.scalars(statement if names is None else statement.where(Family.name.in_(names))).all()


def unfinished_jobs(session: Session, family_id: int) -> int:
    jobs = select(func.count()).select_from(Job).where(Job.family_id == family_id, Job.state.not_in(_TERMINAL))
    return session.scalar(jobs) or 0


def contributions(session: Session, family_ids: Sequence[int]) -> dict[int, int]:
    """Family → how many contributions its ledger has; those without any are left out."""
    counted = select(Contribution.family_id, func.count()).where(Contribution.family_id.in_(family_ids))
    return dict(session.execute(counted.group_by(Contribution.family_id)).all())


def guarded(session: Session) -> set[int]:
    """Families whose champion moves by the guard."""
    return set(session.scalars(select(Family.id).where(Family.promotion == "guarded")))
