"""Files kept in the database under their sha256, in pieces of at most 1 MiB.

A blob is immutable, and putting it again changes nothing. A row that names a blob is written after all of its pieces,
so whoever follows such a row finds the blob whole; but for a version that retention has collected, whose pieces go.
"""

import hashlib
from collections.abc import Iterator
from functools import partial

from sqlalchemy.orm import Session

from service.db import blob_queries
from service.db.insert import insert_new
from service.db.models import Blob, BlobPiece
from service.db.session import Database
from service.errors import NotFound, ServiceError

PIECE_BYTES = 2**20


def put(session: Session, data: bytes) -> str:
    """Stores `data` within the caller's transaction; its sha256."""
    sha256 = hashlib.sha256(data).hexdigest()
    for number in range(_count(len(data))):
        _put_piece(session, sha256, data, number)
    return sha256


def store(database: Database, data: bytes) -> str:
    """The same in a transaction for each piece, so that none holds a large blob; what an earlier try left is kept."""
    sha256 = hashlib.sha256(data).hexdigest()
    for number in range(_count(len(data))):
        database.write(partial(_put_piece, sha256=sha256, data=data, number=number))
    return sha256


def size(session: Session, sha256: str) -> int:
    """Bytes of the blob; NotFound where there is none."""
    blob = session.get(Blob, sha256)
    if blob is None:
        raise NotFound(f"There is no stored file {sha256}.")
    return blob.size


def read(session: Session, sha256: str) -> bytes:
    """The whole blob, checked against its name."""
    data = b"".join(read_range(session, sha256, 0, size(session, sha256)))
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ServiceError(f"The stored file {sha256} is damaged. Restore the database from a backup.")
    return data


def read_range(session: Session, sha256: str, start: int, end: int) -> Iterator[bytes]:
    """Bytes `[start, end)` in chunks of at most a piece. NotFound; ValueError for a range outside the blob."""
    total = size(session, sha256)
    if not 0 <= start <= end <= total:
        raise ValueError(f"range {start}:{end} of {total} bytes")
    return _chunks(session, sha256, start, end)


def _chunks(session: Session, sha256: str, start: int, end: int) -> Iterator[bytes]:
    if start == end:
        return
    first, last = start // PIECE_BYTES, (end - 1) // PIECE_BYTES
    for number, piece in enumerate(blob_queries.pieces(session, sha256, first, last), start=first):
        offset = number * PIECE_BYTES
        yield piece[max(0, start - offset) : end - offset]


def _count(total: int) -> int:
    """An empty blob has one empty piece, so that its row is written too."""
    return max(1, -(-total // PIECE_BYTES))


def _put_piece(session: Session, sha256: str, data: bytes, number: int) -> None:
    insert_new(session, Blob, sha256=sha256, size=len(data))
    blob_queries.locked(session, sha256, shared=True)  # retention may just be removing what an older version had
    if not blob_queries.has_piece(session, sha256, number):
        piece = data[number * PIECE_BYTES : (number + 1) * PIECE_BYTES]
        insert_new(session, BlobPiece, sha256=sha256, number=number, data=piece)
