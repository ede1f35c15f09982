"""The ledger of a family: what its jobs contributed, page by page."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.models import Contribution, Family
from service.pages import Page, PageRequest, paginate


def list_(session: Session, family: Family, page: PageRequest) -> Page[Contribution]:
    """Oldest first."""
    statement = select(Contribution).where(Contribution.family_id == family.id)
    return paginate(session, statement, Contribution.id, page, newest_first=False, filters={"family": family.id})
