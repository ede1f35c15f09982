"""SQL of blobs: their pieces, and those that no version needs any more."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, delete, exists, select, union
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
    named = Blob.sha256.in_(_names(WarpVersion.collected_at.is_not(None)))
    statement = select(Blob.sha256).where(named, _is_not_needed()).order_by(Blob.sha256)
    if with_pieces:
        statement = statement.where(exists().where(BlobPiece.sha256 == Blob.sha256))
    return session.scalars(statement.limit(most)).all()


def drop_pieces(session: Session, sha256: str) -> None:
    """Unless a version needs them again."""
    locked(session, sha256, shared=False)
    if session.scalar(select(Blob.sha256).where(Blob.sha256 == sha256, _is_not_needed())) is not None:
        session.execute(delete(BlobPiece).where(BlobPiece.sha256 == sha256))


def _is_not_needed() -> ColumnElement[bool]:
    return Blob.sha256.not_in(_names(WarpVersion.collected_at.is_(None)))


def _names(which: ColumnElement[bool]) -> CompoundSelect[Any]:
    """The blobs of these versions: both of their files. Lists, which databases hash: there is no index over them."""
    return union(
        select(WarpVersion.sha256).where(which),
        select(WarpVersion.eigenvalues_sha256).where(which, WarpVersion.eigenvalues_sha256.is_not(None)),
    )
