"""The audit log: who changed what, when, and from where."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import Admin, PageDep, ReadSession
from api.schemas.common import Listing
from api.schemas.keys import AuditRecord
from service import audit

router = APIRouter(prefix="/v1/audit", tags=["keys"])

Filter = Annotated[list[str] | None, Query(description="Given twice: either.")]


@router.get("")
def list_audit(
    session: ReadSession,
    caller: Admin,
    page: PageDep,
    action: Filter = None,
    actor: Filter = None,
    target: Filter = None,
) -> Listing[AuditRecord]:
    """Newest first; each change of this project, written with the change itself."""
    found = audit.list_(session, caller.project, page, actions=action or (), actors=actor or (), targets=target or ())
    return Listing[AuditRecord].of_page(found, [AuditRecord.of(row) for row in found.items])
