"""SQL of blobs: their pieces, and those that no version needs any more."""

from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, delete, exists, or_, select
from sqlalchemy.orm import Session

from service.db.models import Blob, BlobPiece, WarpVersion


def has_piece(session: Session, sha256: str, number: int) -> bool:
    found = exists().where(BlobPiece.sha256 == sha256, BlobPiece.number == number)
    return bool(session.scalar(select(found)))


def pieces(session: Session, sha256: str, first: int, last: int) -> Iterator[bytes]:
    """Pieces `first` to `last`, one SELECT each: never more than one in memory."""
    for number in range(first, last + 1):
        one = select(BlobPiece.data).where(BlobPiece.sha256 == sha256, BlobPiece.number == number)
        yield session.scalars(one).one()


def locked(session: Session, sha256: str, *, shared: bool) -> None:
    """Until the transaction ends: shared, nobody removes its pieces meanwhile; else nobody counts on them."""
    session.execute(select(Blob.sha256).where(Blob.sha256 == sha256).with_for_update(read=shared))


def let_go(session: Session, most: int | None = None, *, with_pieces: bool = False) -> Sequence[str]:
    """Blobs that versions of P name, but only such as were collected; with `with_pieces` those that are still there."""
    statement = select(Blob.sha256).where(exists().where(_naming()), ~_is_needed()).order_by(Blob.sha256)
    if with_pieces:
        statement = statement.where(exists().where(BlobPiece.sha256 == Blob.sha256))
    return session.scalars(statement.limit(most)).all()


def drop_pieces(session: Session, sha256: str) -> None:
    """Unless a version needs them again."""
    locked(session, sha256, shared=False)
    if session.scalar(select(Blob.sha256).where(Blob.sha256 == sha256, ~_is_needed())) is not None:
        session.execute(delete(BlobPiece).where(BlobPiece.sha256 == sha256))


def _naming() -> ColumnElement[bool]:
    return or_(WarpVersion.sha256 == Blob.sha256, WarpVersion.eigenvalues_sha256 == Blob.sha256)


def _is_needed() -> ColumnElement[bool]:
    return exists().where(_naming(), WarpVersion.collected_at.is_(None))
