"""SELECTs over the pieces of blobs."""

from collections.abc import Iterator

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from service.db.models import BlobPiece


def has_piece(session: Session, sha256: str, number: int) -> bool:
    found = exists().where(BlobPiece.sha256 == sha256, BlobPiece.number == number)
    return bool(session.scalar(select(found)))


def pieces(session: Session, sha256: str, first: int, last: int) -> Iterator[bytes]:
    """Pieces `first` to `last`, one SELECT each: never more than one in memory."""
    for number in range(first, last + 1):
        one = select(BlobPiece.data).where(BlobPiece.sha256 == sha256, BlobPiece.number == number)
        yield session.scalars(one).one()
