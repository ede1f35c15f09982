"""Where the bytes of a download come from: the storage, or the database's blobs."""

from collections.abc import Iterator

from api.content import CHUNK, Content
from api.kept import KeptFiles
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

    return Content(sha256, size, filename, read, storage.local_path(path))


def blob_content(database: Database, kept: KeptFiles, sha256: str, size: int, filename: str) -> Content:
    """A file in the database, which is immutable: from this machine's disk where it was wanted before.

    The first download reads it from the database, in pieces and a transaction for each, and keeps what it reads.
    """

    def pieces(start: int, end: int) -> Iterator[bytes]:
        while start < end:
            until = min(end, start + CHUNK)
            with database.read() as session:
                chunk = b"".join(blobs.read_range(session, sha256, start, until))
            yield chunk
            start = until

    def read(start: int, end: int) -> Iterator[bytes]:
        found = pieces(start, end)
        return kept.keeping(sha256, size, found) if (start, end) == (0, size) else found

    return Content(sha256, size, filename, read, kept.find(sha256, size))
