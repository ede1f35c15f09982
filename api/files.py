"""Where the bytes of a download come from: the storage, or the database's blobs."""

from collections.abc import Iterator

from api.content import CHUNK, Content
from service import blobs
from service.db.session import Database
from service.errors import NotFound
from service.storage import Storage


def stored_content(storage: Storage, path: str, sha256: str, size: int, filename: str) -> Content:
    """A file in the storage. Raises NotFound where it is no longer there."""
    if not storage.exists(path):
        raise NotFound("The file is no longer in the storage.")

    def read(start: int, end: int) -> Iterator[bytes]:
        with storage.open(path) as file:
            file.seek(start)
            while start < end and (chunk := file.read(min(CHUNK, end - start))):
                start += len(chunk)
                yield chunk

    return Content(sha256, size, filename, read)


def blob_content(database: Database, sha256: str, size: int, filename: str) -> Content:
    """A file in the database, read in pieces, each in a transaction of its own: it is immutable."""

    def read(start: int, end: int) -> Iterator[bytes]:
        while start < end:
            until = min(end, start + CHUNK)
            with database.read() as session:
                chunk = b"".join(blobs.read_range(session, sha256, start, until))
            yield chunk
            start = until

    return Content(sha256, size, filename, read)
