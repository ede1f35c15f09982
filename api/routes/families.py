"""Families, their aliases, and the ledger of what jobs contributed."""

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from sqlalchemy.orm import Session

from api import content
from api.changes import Change, ChangesDep
from api.deps import PageDep, ReadSession, WarpsRead, WarpsWrite
from api.etags import expected_version
from api.idempotency import Made, OnceDep
from api.problems import MADE, headers, problems
from api.schemas.common import Deleted, Listing
from api.schemas.families import (
    Alias,
    AliasChange,
    AliasSet,
    Contribution,
    Family,
    FamilyCreate,
    FamilyUpdate,
)
from service import aliases, clock, families, ledger
from service.db.models import Family as FamilyRow

router = APIRouter(prefix="/v1/families", tags=["families"])

TAGGED = {"headers": headers("ETag")}
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="ETag of the alias as last read, or * for any; else 412."),
]


def present(session: Session, row: FamilyRow) -> Family:
    return Family.of(row, families.status(session, row))


@router.post("", status_code=201, response_model=Family, responses={201: MADE, **problems("in_use")})
def create_family(body: FamilyCreate, caller: WarpsWrite, once: OnceDep) -> Response:
    """Makes a family. A job makes its own on first use."""

    def work(session: Session) -> Made:
        row = families.create(
            session,
            caller.project,
            body.name,
            description=body.description,
            promotion=body.promotion,
            starts=body.starts,
            start_step=body.start_step,
            now=clock.now(),
        )
        change = Change("family.create", row.name, {"promotion": row.promotion})
        return Made(present(session, row), 201, f"/v1/families/{row.name}", change)

    return once.write(body, work)


@router.get("")
def list_families(session: ReadSession, caller: WarpsRead, page: PageDep) -> Listing[Family]:
    """Newest first."""
    found = families.list_(session, caller.project, page)
    seen = families.statuses(session, found.items)
    return Listing[Family].of_page(found, [Family.of(row, seen[row.id]) for row in found.items])


@router.get("/{family}")
def get_family(session: ReadSession, caller: WarpsRead, family: str) -> Family:
    """Its settings, which P is in use, and how its meta-learner does."""
    return present(session, families.get(session, caller.project, family))


@router.patch("/{family}")
def update_family(family: str, body: FamilyUpdate, caller: WarpsWrite, changes: ChangesDep) -> Family:
    """Changes what is given."""

    def work(session: Session) -> Family:
        row = families.update(session, caller.project, family, **body.model_dump())
        return present(session, row)

    return changes.write(Change("family.update", family, body.model_dump(exclude_unset=True)), work)


@router.delete("/{family}", responses=problems("in_use"))
def delete_family(family: str, caller: WarpsWrite, changes: ChangesDep) -> Deleted:
    """Hides a family none of whose jobs is unfinished."""
    changes.write(Change("family.delete", family), lambda session: families.delete(session, caller.project, family))
    return Deleted(id=family)


@router.get("/{family}/contributions")
def list_contributions(session: ReadSession, caller: WarpsRead, family: str, page: PageDep) -> Listing[Contribution]:
    """The ledger, oldest first."""
    found = ledger.list_(session, families.get(session, caller.project, family), page)
    return Listing[Contribution].of_page(found, [Contribution.of(row) for row in found.items])


@router.get("/{family}/aliases")
def list_aliases(session: ReadSession, caller: WarpsRead, family: str, page: PageDep) -> Listing[Alias]:
    """By name."""
    found = aliases.list_(session, families.get(session, caller.project, family), page)
    return Listing[Alias].of_page(found, [Alias.of(family, row) for row in found.items])


@router.get(
    "/{family}/aliases/{alias}",
    response_model=Alias,
    responses={200: TAGGED, 304: {"description": "It has not moved.", **TAGGED}},
    openapi_extra={"parameters": [content.IF_NONE_MATCH]},
)
def get_alias(
    request: Request, response: Response, session: ReadSession, caller: WarpsRead, family: str, alias: str
) -> Alias | Response:
    """Its `ETag` is the version that it points to; 304 with `If-None-Match` while it has not moved."""
    row = aliases.get(session, families.get(session, caller.project, family), alias)
    etag = response.headers["ETag"] = f'"{row.version}"'
    if content.names(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={"ETag": etag})
    return Alias.of(family, row)


@router.put("/{family}/aliases/{alias}", responses={200: TAGGED, **problems("etag_mismatch", "warp_not_found")})
def set_alias(
    caller: WarpsWrite,
    changes: ChangesDep,
    response: Response,
    family: str,
    alias: str,
    body: AliasSet,
    if_match: IfMatch = None,
) -> Alias:
    """Points an alias to a version, by hand; with `If-Match` only if nobody has moved it since."""
    expected = expected_version(if_match)

    def work(session: Session) -> Alias:
        row = families.get(session, caller.project, family)
        return Alias.of(
            family,
            aliases.set_(session, row, alias, body.version, reason=body.reason, expected=expected, now=clock.now()),
        )

    answer = changes.write(Change("alias.set", f"{family}@{alias}", {"version": body.version}), work)
    response.headers["ETag"] = f'"{answer.version}"'
    return answer


@router.delete("/{family}/aliases/{alias}", responses=problems("etag_mismatch"))
def delete_alias(caller: WarpsWrite, changes: ChangesDep, family: str, alias: str, if_match: IfMatch = None) -> Deleted:
    """`champion` and `latest` cannot be deleted."""
    expected = expected_version(if_match)

    def work(session: Session) -> None:
        row = families.get(session, caller.project, family)
        aliases.delete(session, row, alias, expected=expected, now=clock.now())

    changes.write(Change("alias.delete", f"{family}@{alias}"), work)
    return Deleted(id=alias)


@router.get("/{family}/aliases/{alias}/history")
def list_alias_history(
    session: ReadSession, caller: WarpsRead, family: str, alias: str, page: PageDep
) -> Listing[AliasChange]:
    """Every move, newest first; also of an alias that was deleted."""
    found = aliases.history(session, families.get(session, caller.project, family), alias, page)
    return Listing[AliasChange].of_page(found, [AliasChange.of(row) for row in found.items])
