"""What the hub is asked: which commit a revision is, which files it has, and their content.

A file that the hub keeps elsewhere is fetched where it leads to; every step is judged by the guard, and the token stays
with the hub itself.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import httpx

from service import outbound
from service.errors import InvalidRequest, TooLarge, Unavailable
from service.hub.address import Address
from service.settings import Settings
from service.storage import full_is_told
from service.stores import HTTP, Store, store_of

_LIST_BYTES = 32 * 2**20
_LIST_S, _FILE_S = 30.0, 3600.0
_REDIRECTS = 4
_MOVED = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class File:
    size: int
    sha256: str | None
    """As the hub tells it; None for small files, of which it knows only git's own."""


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit: what it holds cannot change any more."""

    address: Address
    files: Mapping[str, File]

    @property
    def commit(self) -> str:
        return self.address.revision


class Hub:
    """The hub as one project may see it. Its errors name `param`, the field of the request that named it."""

    def __init__(self, settings: Settings, project: str, param: str) -> None:
        self._url = settings.hub_url.rstrip("/")
        self._guard = outbound.Guard.of(settings)
        self._project, self._stores, self._param = project, settings.data_stores, param

    def pin(self, address: Address) -> Snapshot:
        """The commit that the revision is now, and its files. Raises InvalidRequest, Unavailable."""
        if not self._url:
            raise self._refused("this server asks no hub (WARPADAM_HUB_URL is empty)")
        store = self._store(address)
        with self._asked(f"{self._url}{address.api}?blobs=true", store, _LIST_S) as chunks:
            data = _whole(chunks)
        try:
            found: Any = json.loads(data)
            commit = found["sha"]
            files = dict(_files(found["siblings"]))
            if not (isinstance(commit, str) and len(commit) == 40 and int(commit, 16) >= 0):
                raise ValueError("no commit")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unavailable(f"The hub says nothing of {address} that is understood here.") from error
        return Snapshot(replace(address, revision=commit), files)

    def fetch(self, snapshot: Snapshot, paths: Sequence[str], folder: Path, max_bytes: int) -> None:
        """Puts files of a snapshot below a folder. Raises TooLarge, InvalidRequest, Unavailable, StorageFull."""
        total = sum(snapshot.files[path].size for path in paths)
        if total > max_bytes:
            raise self._too_large(snapshot, total, max_bytes)
        for path in paths:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                self._copy(snapshot, path, file, max_bytes)

    def _copy(self, snapshot: Snapshot, path: str, into: BinaryIO, max_bytes: int) -> None:
        expected, digest, size = snapshot.files[path], hashlib.sha256(), 0
        for chunk in self.chunks(snapshot, path):
            size += len(chunk)
            if size > min(max_bytes, expected.size):
                break
            digest.update(chunk)
            with full_is_told():
                into.write(chunk)
        if size != expected.size or (expected.sha256 and digest.hexdigest() != expected.sha256):
            raise Unavailable(f"The hub sent something else for {path} than it promised: try again.")

    def chunks(self, snapshot: Snapshot, path: str) -> Iterator[bytes]:
        """The content of one file as it comes."""
        store = self._store(snapshot.address)
        with self._asked(f"{self._url}{snapshot.address.file(path)}", store, _FILE_S) as chunks:
            yield from chunks

    def _store(self, address: Address) -> Store | None:
        try:
            return store_of(f"{address.plain}/", self._project, self._stores)
        except InvalidRequest as error:
            raise InvalidRequest(error.detail, param=self._param) from error

    @contextmanager
    def _asked(self, url: str, store: Store | None, deadline_s: float) -> Iterator[Iterator[bytes]]:
        token = store.options.get("token") if store else None
        headers = {"Authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        try:
            with outbound.request(self._guard, "GET", url, schemes=HTTP, deadline_s=deadline_s, headers=headers) as got:
                if got.status not in _MOVED or "location" not in got.headers:
                    self._check(got.status)
                    yield got.chunks
                    return
                elsewhere = str(httpx.URL(url).join(got.headers["location"]))
            schemes = ("https",) if url.startswith("https:") else HTTP
            with outbound.request(
                self._guard, "GET", elsewhere, schemes=schemes, deadline_s=deadline_s, redirects=_REDIRECTS
            ) as got:
                self._check(got.status)
                yield got.chunks
        except outbound.Refused as error:
            raise self._refused(f"the hub is not reached from here: {error}") from error
        except (*outbound.FAILURES, httpx.InvalidURL) as error:
            raise Unavailable(f"The hub at {self._url} does not answer ({type(error).__name__}): try again.") from error

    def _check(self, status: int) -> None:
        if status in (401, 403, 404):
            raise self._refused("the hub shows no such repository, revision or file to this server: check the name")
        if status != 200:
            raise Unavailable(f"The hub answers {status}: try again later.")

    def _refused(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"The hub cannot be read: {reason}.", param=self._param)

    def _too_large(self, snapshot: Snapshot, size: int, most: int) -> TooLarge:
        return TooLarge(f"{snapshot.address.plain} has {size} bytes here; at most {most} are.", param=self._param)


def _whole(chunks: Iterator[bytes]) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > _LIST_BYTES:
            raise Unavailable("The hub lists more files than are read here.")
    return bytes(data)


def _files(siblings: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, File]]:
    """What could not be a file below a folder is left out."""
    for each in siblings:
        path, lfs = each["rfilename"], each.get("lfs") or {}
        if not is_inside(path):
            continue
        yield path, File(int(each.get("size") or lfs.get("size") or 0), lfs.get("sha256"))


def is_inside(path: str) -> bool:
    """Whether a path, as a repository names it, stays below the folder that it is put into."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts) and path.isprintable() and "\\" not in path and "://" not in path
        and not path.startswith(("/", "~")) and ".." not in parts and len(path) <= 500
    )  # fmt: skip
