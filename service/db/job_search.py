"""Which jobs a list shows, newest first, at a price that depends neither on how many there are nor on how few fit.

Each value of a filter is a walk along an index, from its newest entry on, which ends when a page is full. Where filters
of several kinds are given, the walk goes along the one with the fewest entries, and the others are asked of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, select, true, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from service.db.models import Family, Job, JobLabel

MOST_WALKS = 64
"""Of one search; more combinations of values than this are looked for in one walk along all jobs."""
COUNTED = 2000
"""Entries that are counted, to choose what to walk along."""


@dataclass(frozen=True)
class Filter:
    """Of each kind any of the values; of different kinds all."""

    states: Sequence[str] = ()
    families: Sequence[str] = ()
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Walk:
    """`entries` are what is walked along by their id `along`; `found` are those of them that fit."""

    along: InstrumentedAttribute[str]
    entries: Select[str]
    found: Select[str]

    def page(self, before: str | None, most: int) -> Select[str]:
        statement = self.found if before is None else self.found.where(self.along < before)
        return statement.order_by(self.along.desc()).limit(most)


def newest(session: Session, project: str, wanted: Filter, before: str | None, most: int) -> list[str]:
    """Ids of the project's jobs that are not deleted, older than the id `before`, newest first, at most so many."""
    pages = [walk.page(before, most).subquery() for walk in _walks(session, project, wanted)]
    if not pages:
        return []
    if len(pages) == 1:
        return list(session.scalars(select(pages[0].c.id).order_by(pages[0].c.id.desc())))
    merged = union_all(*(select(page.c.id) for page in pages)).subquery()
    return list(session.scalars(select(merged.c.id).distinct().order_by(merged.c.id.desc()).limit(most)))


def _walks(session: Session, project: str, wanted: Filter) -> list[_Walk]:
    families: Sequence[int] = ()
    if wanted.families:
        named = select(Family.id).where(Family.project == project, Family.name.in_(wanted.families))
        families = session.scalars(named).all()
        if not families:
            return []
    ways = [_along_label(project, wanted, families, key) for key in wanted.metadata]
    if wanted.states or families or not ways:
        ways.append(_along_jobs(project, wanted, families))
    return ways[0] if len(ways) == 1 else min(ways, key=lambda walks: _entries(session, walks))


def _entries(session: Session, walks: Sequence[_Walk]) -> int:
    """How many there are to walk along, as far as that is counted."""
    some = [walk.entries.limit(COUNTED).subquery() for walk in walks]
    return sum(session.scalar(select(func.count()).select_from(each)) or 0 for each in some)


def _along_label(project: str, wanted: Filter, families: Sequence[int], key: str) -> list[_Walk]:
    others = [_has_label(name, values) for name, values in wanted.metadata.items() if name != key]
    asked = (Job.deleted_at.is_(None), _any(Job.state, wanted.states), _any(Job.family_id, families), *others)
    values = list(dict.fromkeys(wanted.metadata[key]))
    # A job has one value of a key, so one walk finds it once however many values are looked for.
    each = [[value] for value in values] if len(values) <= MOST_WALKS else [values]
    walks = []
    for some in each:
        valued = JobLabel.value == some[0] if len(some) == 1 else JobLabel.value.in_(some)
        pairs = (JobLabel.project == project, JobLabel.key == key, valued)
        entries = select(JobLabel.job_id.label("id")).where(*pairs)
        walks.append(_Walk(JobLabel.job_id, entries, entries.join(Job, Job.id == JobLabel.job_id).where(*asked)))
    return walks


def _along_jobs(project: str, wanted: Filter, families: Sequence[int]) -> list[_Walk]:
    shown = (Job.deleted_at.is_(None), *(_has_label(name, values) for name, values in wanted.metadata.items()))
    states = list(dict.fromkeys(wanted.states))
    some_families: Sequence[int | None] = families or [None]
    some_states: Sequence[str | None] = states or [None]
    pairs = [(family, state) for family in some_families for state in some_states]
    if len(pairs) > MOST_WALKS:
        entries = select(Job.id.label("id")).where(Job.project == project)
        all_ = (_any(Job.state, states), _any(Job.family_id, families), *shown)
        return [_Walk(Job.id, entries, entries.where(*all_))]
    walks = []
    for family, state in pairs:
        # A family is of one project: to ask for that too would only tempt SQLite to another index.
        of_whom = Job.project == project if family is None else Job.family_id == family
        entries = select(Job.id.label("id")).where(of_whom)
        entries = entries if state is None else entries.where(Job.state == state)
        walks.append(_Walk(Job.id, entries, entries.where(*shown)))
    return walks


def _any(column: InstrumentedAttribute[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    return column.in_(values) if values else true()


def _has_label(key: str, values: Sequence[str]) -> ColumnElement[bool]:
    label = aliased(JobLabel)
    return exists().where(label.job_id == Job.id, label.key == key, label.value.in_(values))
