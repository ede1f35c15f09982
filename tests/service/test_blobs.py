"""Files in pieces in the database."""

import hashlib

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service import blobs
from service.db.models import BlobPiece
from service.db.session import Database
from service.errors import NotFound, ServiceError

PIECE = blobs.PIECE_BYTES
BIG = bytes(range(256)) * (PIECE // 256) * 2 + b"the end"


@pytest.mark.parametrize("data", [b"", b"x", b"y" * PIECE, BIG])
def test_what_was_put_is_read(database: Database, data: bytes) -> None:
    sha256 = database.write(lambda session: blobs.put(session, data))
    assert sha256 == hashlib.sha256(data).hexdigest()
    with database.read() as session:
        assert blobs.read(session, sha256) == data
        assert blobs.size(session, sha256) == len(data)


def test_pieces_are_at_most_a_mebibyte_and_each_has_a_transaction(database: Database) -> None:
    sha256 = blobs.store(database, BIG)
    with database.read() as session:
        sizes = list(session.scalars(select(func.length(BlobPiece.data)).order_by(BlobPiece.number)))
        assert blobs.read(session, sha256) == BIG
    assert sizes == [PIECE, PIECE, 7]


def test_putting_again_changes_nothing_and_completes_what_was_begun(database: Database) -> None:
    sha256 = blobs.store(database, BIG)

    def lose_last_piece(session: Session) -> None:
        session.delete(session.get_one(BlobPiece, (sha256, 2)))

    database.write(lose_last_piece)
    assert blobs.store(database, BIG) == database.write(lambda session: blobs.put(session, BIG)) == sha256
    with database.read() as session:
        assert blobs.read(session, sha256) == BIG


@pytest.mark.parametrize(
    ("start", "end"), [(0, 0), (0, 5), (PIECE - 1, PIECE + 1), (5, 2 * PIECE + 3), (2 * PIECE + 7, 2 * PIECE + 7)]
)
def test_a_range_is_those_bytes(database: Database, start: int, end: int) -> None:
    sha256 = blobs.store(database, BIG)
    with database.read() as session:
        chunks = list(blobs.read_range(session, sha256, start, end))
    assert b"".join(chunks) == BIG[start:end]
    assert all(0 < len(chunk) <= PIECE for chunk in chunks)


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, len(BIG) + 1)])
def test_a_range_outside_is_refused(database: Database, start: int, end: int) -> None:
    sha256 = blobs.store(database, BIG)
    with database.read() as session, pytest.raises(ValueError, match="range"):
        blobs.read_range(session, sha256, start, end)


def test_a_damaged_blob_is_not_handed_out(database: Database) -> None:
    sha256 = blobs.store(database, b"right")
    database.write(lambda session: session.execute(update(BlobPiece).values(data=b"wrong")))
    with database.read() as session, pytest.raises(ServiceError, match="damaged"):
        blobs.read(session, sha256)


def test_an_unknown_blob_is_not_found(database: Database) -> None:
    with database.read() as session, pytest.raises(NotFound):
        blobs.read(session, "0" * 64)
