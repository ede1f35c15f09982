"""Starts of a family: which one a job begins with, what a succeeded job gives back, and what people see of them.

A start and the P that was learned with it are a pair: a start comes into use with the P that was newest when it was
made. So the family's promotion policy, which moves `champion`, decides about both.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from service.db import checkpoint_queries, start_queries
from service.db.models import Family, Job, StartContribution, StartVersion
from service.errors import Collected, NotFound
from service.pages import Page, PageRequest, paginate
from service.resolve import Resolved
from service.spec import read_stored
from service.storage import Stored
from warpadam import shapes


def offer(session: Session, job: Job, now: datetime) -> StartContribution | None:
    """Enters the final weights of a job that succeeds into the ledger, where it began from a start and contributes.

    A foreign model has no start that grows: a meta-learner would have to build it to know what it began from.
    Called in the transaction of its success, so each job counts once and none is forgotten. The job must be locked.
    """
    resolved = Resolved.model_validate(job.resolved)
    began = None if shapes.is_foreign(resolved.model) else resolved.start_version
    if began is None or resolved.anchor is None or resolved.fresh or not read_stored(job.spec).contributes:
        return None
    best = checkpoint_queries.best_or_last(session, job.id)
    family = session.get_one(Family, job.family_id)
    if best is None or not family.starts:
        return None
    row = StartContribution(
        job_id=job.id,
        family_id=family.id,
        anchor=resolved.anchor,
        began=began,
        steps=resolved.steps,
        path=best.path,
        sha256=best.sha256,
        size=best.size,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def get(session: Session, family: Family, version: int) -> StartVersion:
    found = session.get(StartVersion, (family.id, version)) if 0 < version < 2**31 else None
    if found is None:
        hint = " Version 0 is the seed or the base itself, which has no file here." if version == 0 else ""
        raise NotFound(f"Family {family.name} has no start {version}.{hint}")
    return found


def list_(session: Session, family: Family, page: PageRequest, anchors: list[str]) -> Page[StartVersion]:
    """Newest first."""
    statement = start_queries.versions(family.id, anchors)
    filters = {"family": family.id, "anchor": sorted(anchors)}
    return paginate(session, statement, StartVersion.version, page, newest_first=True, filters=filters)


def paired_with(session: Session, family_id: int, warp_version: int) -> int | None:
    """The start that belongs to a version of P; None where there was none yet."""
    return start_queries.newest_before_warp(session, family_id, warp_version)


def file(family: Family, version: StartVersion) -> Stored:
    """Raises Collected where retention has removed it."""
    if version.collected_at is not None:
        raise Collected(
            f"The file of start {version.version} of family {family.name} was removed, because nothing used it any "
            "more: take a newer start."
        )
    return Stored(version.path, version.sha256, version.size)
