"""Versions of a family's P: immutable, numbered from 1 in order of their birth, learned or uploaded."""

import re
from datetime import datetime

from sqlalchemy.orm import Session

from service import aliases, blobs
from service.db import family_queries, warp_queries
from service.db.models import Family, WarpVersion
from service.errors import Collected, InvalidRequest, NotFound
from service.pages import Page, PageRequest, paginate
from warpadam import warpfile

UPLOADED = "uploaded"


def resolve(session: Session, family: Family, ref: str | int) -> WarpVersion | None:
    """What a number or an alias means at present. None: `champion` or `latest` of a family that has no P yet.

    NotFound for a number that is no version and for another alias that is not there. Digits in a string are a number.
    """
    if isinstance(ref, int) or re.fullmatch(r"\d{1,18}", ref, re.ASCII):
        return get(session, family, int(ref))
    number = aliases.version_of(session, family.id, ref)
    if number is not None:
        return get(session, family, number)
    if ref in aliases.BY_ITSELF:
        return None
    raise NotFound(f"Family {family.name} has no alias {ref}.")


def get(session: Session, family: Family, version: int) -> WarpVersion:
    found = session.get(WarpVersion, (family.id, version)) if 0 < version < 2**31 else None
    if found is None:
        raise NotFound(f"Family {family.name} has no version {version}.")
    return found


def list_(session: Session, family: Family, page: PageRequest) -> Page[WarpVersion]:
    """Newest first."""
    statement = warp_queries.versions(family.id)
    return paginate(session, statement, WarpVersion.version, page, newest_first=True, filters={"family": family.id})


def content(session: Session, version: WarpVersion) -> bytes:
    """The file, checked against its sha256. Raises Collected."""
    check_kept(session.get_one(Family, version.family_id), version)
    return blobs.read(session, version.sha256)


def check_kept(family: Family, version: WarpVersion) -> None:
    """Raises Collected where retention has removed its file."""
    if version.collected_at is not None:
        raise Collected(collected(family, version))


def collected(family: Family, version: WarpVersion) -> str:
    return (
        f"The file of version {version.version} of family {family.name} was removed, because nothing used it any more: "
        "take a newer version."
    )


def upload(session: Session, family: Family, data: bytes, now: datetime) -> WarpVersion:
    """A P that was made elsewhere becomes the family's next version, byte for byte as it came.

    InvalidRequest says what is wrong with the file. Aliases move as for a learned version.
    """
    try:
        matrices, metadata = warpfile.decode(data)
    except warpfile.WarpFileError as error:
        raise InvalidRequest(f"This file is not a P: {error}", param="file") from error
    locked = family_queries.locked(session, family.id)
    assert locked is not None
    row = WarpVersion(
        family_id=family.id,
        version=warp_queries.newest_number(session, family.id) + 1,
        epoch=0,
        rule=UPLOADED,
        parent=None,
        solved_with={name: value for name, value in (("rule", metadata.rule), ("family", metadata.family)) if value},
        keys=[{"key": key, "size": len(matrix)} for key, matrix in sorted(matrices.items())],
        sha256=blobs.put(session, data),
        size=len(data),
        created_at=now,
    )
    return add(session, locked, row, reason=UPLOADED)


def add(session: Session, family: Family, row: WarpVersion, *, reason: str) -> WarpVersion:
    """Writes a new version and moves `latest`, and `champion` by the family's policy. The family must be locked."""
    session.add(row)
    session.flush()
    aliases.move(session, family.id, "latest", row.version, reason=reason, now=row.created_at)
    if _promotes(family, row):
        reason = f"promotion: {family.promotion}"
        aliases.move(session, family.id, "champion", row.version, reason=reason, now=row.created_at)
    return row


def _promotes(family: Family, row: WarpVersion) -> bool:
    """`guarded` waits for a comparison that the version won; `manual` for people."""
    if family.promotion == "guarded":
        return bool(row.comparison and row.comparison.get("won"))
    return family.promotion == "latest"
