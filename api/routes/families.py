"""Families, their aliases, and the ledger of what jobs contributed."""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from sqlalchemy.orm import Session

from api.deps import PROJECT, PageDep, ReadSession, ServicesDep
from api.etags import expected_version
from api.idempotency import Made, OnceDep
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

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="ETag of the alias as last read; 412 if it has moved since.")
]


def present(session: Session, row: FamilyRow) -> Family:
    return Family.of(row, families.status(session, row))


@router.post("", status_code=201, response_model=Family)
def create_family(body: FamilyCreate, once: OnceDep) -> Response:
    """Makes a family. A job makes its own on first use."""

    def work(session: Session) -> Made:
        row = families.create(
            session, PROJECT, body.name, description=body.description, promotion=body.promotion, now=clock.now()
        )
        return Made(present(session, row), 201, f"/v1/families/{row.name}")

    return once.write(body, work)


@router.get("")
def list_families(session: ReadSession, page: PageDep) -> Listing[Family]:
    """Newest first."""
    found = families.list_(session, PROJECT, page)
    return Listing[Family].of_page(found, [present(session, row) for row in found.items])


@router.get("/{family}")
def get_family(session: ReadSession, family: str) -> Family:
    return present(session, families.get(session, PROJECT, family))


@router.patch("/{family}")
def update_family(family: str, body: FamilyUpdate, services: ServicesDep) -> Family:
    """Changes what is given."""

    def work(session: Session) -> Family:
        row = families.update(session, PROJECT, family, description=body.description, promotion=body.promotion)
        return present(session, row)

    return services.database.write(work)


@router.delete("/{family}")
def delete_family(family: str, services: ServicesDep) -> Deleted:
    """Hides a family none of whose jobs is unfinished."""
    services.database.write(lambda session: families.delete(session, PROJECT, family))
    return Deleted(id=family)


@router.get("/{family}/contributions")
def list_contributions(session: ReadSession, family: str, page: PageDep) -> Listing[Contribution]:
    """The ledger, oldest first."""
    found = ledger.list_(session, families.get(session, PROJECT, family), page)
    return Listing[Contribution].of_page(found, [Contribution.of(row) for row in found.items])


@router.get("/{family}/aliases")
def list_aliases(session: ReadSession, family: str) -> Listing[Alias]:
    """All of them, by name."""
    row = families.get(session, PROJECT, family)
    return Listing[Alias](data=[Alias.of(family, alias) for alias in aliases.list_(session, row)])


@router.get("/{family}/aliases/{alias}")
def get_alias(session: ReadSession, response: Response, family: str, alias: str) -> Alias:
    row = aliases.get(session, families.get(session, PROJECT, family), alias)
    response.headers["ETag"] = f'"{row.version}"'
    return Alias.of(family, row)


@router.put("/{family}/aliases/{alias}")
def set_alias(
    services: ServicesDep, response: Response, family: str, alias: str, body: AliasSet, if_match: IfMatch = None
) -> Alias:
    """Points an alias to a version, by hand; with `If-Match` only if nobody has moved it since."""
    expected = expected_version(if_match)

    def work(session: Session) -> Alias:
        row = families.get(session, PROJECT, family)
        return Alias.of(
            family,
            aliases.set_(session, row, alias, body.version, reason=body.reason, expected=expected, now=clock.now()),
        )

    answer = services.database.write(work)
    response.headers["ETag"] = f'"{answer.version}"'
    return answer


@router.delete("/{family}/aliases/{alias}")
def delete_alias(services: ServicesDep, family: str, alias: str, if_match: IfMatch = None) -> Deleted:
    """`champion` and `latest` cannot be deleted."""
    expected = expected_version(if_match)

    def work(session: Session) -> None:
        row = families.get(session, PROJECT, family)
        aliases.delete(session, row, alias, expected=expected, now=clock.now())

    services.database.write(work)
    return Deleted(id=alias)


@router.get("/{family}/aliases/{alias}/history")
def alias_history(session: ReadSession, family: str, alias: str, page: PageDep) -> Listing[AliasChange]:
    """Every move, newest first; also of an alias that was deleted."""
    found = aliases.history(session, families.get(session, PROJECT, family), alias, page)
    return Listing[AliasChange].of_page(found, [AliasChange.of(row) for row in found.items])
