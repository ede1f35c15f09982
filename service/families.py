"""Families: named groups of jobs over related datasets that share one P.

A deleted family keeps its rows, which its jobs and their results still name, under a name that nobody can ask for; its
old name is free again, and a meta-learner that still runs for it can write no more.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy.orm import Session

from service import clock
from service.db import family_queries, warp_queries
from service.db.insert import insert_new
from service.db.models import Family
from service.errors import InUse, InvalidRequest, NotFound
from service.pages import Page, PageRequest, paginate
from service.spec import NAME_PATTERN

Promotion = Literal["latest", "guarded", "manual"]
"""What moves `champion`: every new version, only one that won a comparison, or people only."""


@dataclass(frozen=True)
class FamilyStatus:
    """What is shown with a family: its two aliases, and how its meta-learner does."""

    champion: int | None
    latest: int | None
    accepted: int
    refused: dict[str, int]
    pending: int
    """Accepted contributions that no published version contains yet."""
    epoch: int


def ensure(session: Session, project: str, name: str) -> Family:
    """The family of this name, made on first use."""
    family = family_queries.by_name(session, project, name)
    if family is None:
        _insert(session, project, name, created_at=clock.now())
        family = get(session, project, name)
    return family


def create(
    session: Session,
    project: str,
    name: str,
    *,
    description: str = "",
    promotion: str = "latest",
    starts: bool = True,
    start_step: float = 1.0,
    now: datetime,
) -> Family:
    """A new family. InvalidRequest for a bad name or promotion, InUse where the name is taken."""
    values = {"description": description, "promotion": _promotion(promotion), "starts": starts}
    if not _insert(session, project, name, created_at=now, start_step=start_step, **values):
        raise InUse(f"There is a family {name} already: change it, or choose another name.", param="name")
    return get(session, project, name)


def get(session: Session, project: str, name: str) -> Family:
    family = family_queries.by_name(session, project, name)
    if family is None or not re.fullmatch(NAME_PATTERN, name):
        raise NotFound(f"There is no family {name}.")
    return family


def list_(session: Session, project: str, page: PageRequest) -> Page[Family]:
    """Newest first."""
    statement = family_queries.visible(project)
    return paginate(session, statement, Family.id, page, newest_first=True, filters={"project": project})


def update(
    session: Session,
    project: str,
    name: str,
    *,
    description: str | None = None,
    promotion: str | None = None,
    starts: bool | None = None,
    start_step: float | None = None,
) -> Family:
    """Changes what is not None. A new promotion acts from the next version on, a step from the next start."""
    family = get(session, project, name)
    if starts is not None:
        family.starts = starts
    if start_step is not None:
        family.start_step = start_step
    if promotion is not None:
        family.promotion = _promotion(promotion)
    if description is not None:
        family.description = description
    session.flush()
    return family


def delete(session: Session, project: str, name: str) -> None:
    """Hides the family at once. InUse while jobs of it have not ended."""
    family = family_queries.locked(session, get(session, project, name).id)
    assert family is not None
    unfinished = family_queries.unfinished_jobs(session, family.id)
    if unfinished:
        raise InUse(f"{unfinished} jobs of family {name} have not ended: cancel them, or wait for them.")
    family.name = f"#{family.id}"
    family.epoch += 1
    session.flush()


def status(session: Session, family: Family) -> FamilyStatus:
    return statuses(session, [family])[family.id]


def statuses(session: Session, shown: Sequence[Family]) -> dict[int, FamilyStatus]:
    """Of each of these families by id, from one look at each table however many they are."""
    ids = [family.id for family in shown]
    versions = warp_queries.aliased(session, ids, ("champion", "latest"))
    accepted = family_queries.contributions(session, ids)
    learned = warp_queries.newest_learned_from(session, ids)
    return {
        family.id: FamilyStatus(
            champion=versions.get((family.id, "champion")),
            latest=versions.get((family.id, "latest")),
            accepted=family.accepted,
            refused={code: int(count) for code, count in sorted(family.refused.items())},
            pending=accepted.get(family.id, 0) - sum(int(job["contributions"]) for job in learned.get(family.id, ())),
            epoch=family.epoch,
        )
        for family in shown
    }


def _insert(session: Session, project: str, name: str, **values: object) -> bool:
    if not re.fullmatch(NAME_PATTERN, name):
        message = f"{name!r}: a family's name has 1 to 64 characters of a-z, 0-9 and -, and does not begin with -"
        raise InvalidRequest(message, param="name")
    return insert_new(session, Family, project=project, name=name, **values)


def _promotion(value: str) -> str:
    if value not in get_args(Promotion):
        raise InvalidRequest(f"promotion is latest, guarded or manual, not {value!r}", param="promotion")
    return value
