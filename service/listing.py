"""What lies below a folder of a storage, in as few questions as the store allows."""

import posixpath
from collections.abc import Iterator
from typing import Any

from fsspec.implementations.local import LocalFileSystem


def listed(files: Any, folder: str, page: int | None = None) -> Iterator[str]:
    """Full names of all files below a folder of an fsspec filesystem, as they are at the moment.

    S3 is asked page by page, and not more is held than one; `page`: so many names at most, instead of the store's own
    size. A local disk is read one folder after the other, others at once.
    """
    if isinstance(files, LocalFileSystem):
        return _by_folder(files, folder)
    if "s3" in _protocols(files):
        return _by_page(files, folder, page)
    files.invalidate_cache()
    return iter(_find(files, folder))


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _by_folder(files: LocalFileSystem, folder: str) -> Iterator[str]:
    for prefix in range(256):
        yield from _find(files, posixpath.join(folder, f"{prefix:02x}"))


def _find(files: Any, folder: str) -> list[str]:
    try:
        return [str(name) for name in files.find(folder)]
    except FileNotFoundError:
        return []


def _by_page(files: Any, folder: str, page: int | None) -> Iterator[str]:
    bucket, _, prefix = folder.partition("/")
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": f"{prefix}/"}
    if page is not None:
        asked["MaxKeys"] = page
    while True:
        answer = files.call_s3("list_objects_v2", **asked)
        yield from (f"{bucket}/{each['Key']}" for each in answer.get("Contents", []))
        if not answer.get("IsTruncated"):
            return
        asked["ContinuationToken"] = answer["NextContinuationToken"]
