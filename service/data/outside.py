"""Data that lies outside the storage: below the server's data roots, or at a URL that fsspec can read.

Local paths are resolved, links and all, before they are compared with the roots. What lies at a URL is copied to a
temporary file while it is hashed, so that what is read is what was hashed. URLs cannot be chained (`::`), carry no
credentials, and name only schemes that reach a store; over HTTP they go through the guard (service/outbound).
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from service import outbound
from service.access import DEFAULT_PROJECT
from service.data.source import FileSource, FolderSource, Member, Source
from service.errors import InvalidRequest, StorageFull, TooLarge
from service.storage import full_is_told
from service.stores import HTTP, SCHEMES, Store, driver, open_object, refused, store_of

_CHUNK = 1 << 20
_DEADLINE_S = 3600.0
"""Of one download over HTTP."""
_REDIRECTS = 5


@contextmanager
def opened(
    uri: str,
    roots: Sequence[Path],
    max_bytes: int,
    guard: outbound.Guard,
    *,
    project: str = DEFAULT_PROJECT,
    stores: Sequence[Store] = (),
) -> Iterator[tuple[Source, str]]:
    """The source at `uri` and its sha256. Raises InvalidRequest (param `uri`) with what to do, TooLarge."""
    if not uri.isprintable():
        raise refused("the address holds characters that cannot be printed")
    if "::" in uri:
        raise refused("chained addresses (::) are not accepted: name the file itself")
    scheme = urlsplit(uri).scheme.lower() if "://" in uri else ""
    if scheme in ("", "file", "local"):
        yield _local(_resolved(uri, scheme, roots), roots, max_bytes)
    elif scheme in SCHEMES:
        with _remote(uri, scheme, max_bytes, guard, store_of(uri, project, stores)) as found:
            yield found
    else:
        raise refused(f"the scheme {scheme!r} is not accepted: use one of file, {', '.join(SCHEMES)}")


def _resolved(uri: str, scheme: str, roots: Sequence[Path]) -> Path:
    """The path without links, which lies below a root. Whether a path elsewhere exists is not told."""
    if not roots:
        raise refused(
            "this server reads no local paths: upload the file, or start the server with WARPADAM_DATA_ROOTS "
            "naming the folder that holds it"
        )
    text = uri
    if scheme:
        parsed = urlsplit(uri)
        if parsed.netloc not in ("", "localhost"):
            raise refused("a file:// address names no host: write file:///folder/file")
        text = unquote(parsed.path)
    try:
        path = Path(text).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise refused(f"the path cannot be followed ({error})") from error
    if not Path(text).is_absolute() or not any(path.is_relative_to(root.resolve()) for root in roots):
        folders = ", ".join(str(root) for root in roots)
        raise refused(f"local paths are read below {folders} only, and as absolute paths: move the file, or upload it")
    if not path.exists():
        raise refused(f"there is no file {text}: check the path")
    return path


def _local(path: Path, roots: Sequence[Path], max_bytes: int) -> tuple[Source, str]:
    if not path.is_dir():
        if not path.is_file():
            raise refused(f"{path.name} is no regular file")
        size = path.stat().st_size
        if size > max_bytes:
            raise TooLarge(f"{path.name} has {size} bytes; at most {max_bytes} are accepted here.", param="uri")
        try:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise refused(f"{path.name} cannot be read ({error.strerror})") from error
        return FileSource(path.name, size, lambda: path.open("rb")), sha256
    members = [_member(each, path, roots) for each in sorted(path.rglob("*")) if each.is_file()]
    if sum(member.size for member in members) > max_bytes:
        raise TooLarge(f"{path.name} holds more than the {max_bytes} bytes that are accepted here.", param="uri")
    return FolderSource(path.name, members), _digest(members)


def _member(path: Path, folder: Path, roots: Sequence[Path]) -> Member:
    if not any(path.resolve().is_relative_to(root.resolve()) for root in roots):
        raise refused(f"{path.relative_to(folder)} is a link that leads outside the data roots: replace it by a copy")
    return Member(path.relative_to(folder).as_posix(), path.stat().st_size, lambda: path.open("rb"))


def _digest(members: Sequence[Member]) -> str:
    """sha256 over the lines `<sha256 of a file>  <path>`, sorted by path."""
    total = hashlib.sha256()
    for member in members:
        with member.open() as file:
            one = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        total.update(f"{one}  {member.path}\n".encode())
    return total.hexdigest()


@contextmanager
def _remote(
    uri: str, scheme: str, max_bytes: int, guard: outbound.Guard, store: Store | None
) -> Iterator[tuple[Source, str]]:
    parsed = urlsplit(uri)
    if parsed.username or parsed.password:
        raise refused("an address must hold no user or password: give the server access to the store instead")
    name = unquote(parsed.path).rstrip("/").rsplit("/", 1)[-1] or uri
    with tempfile.NamedTemporaryFile(prefix="warpadam-") as copy:
        path = Path(copy.name)
        with _explained(uri, scheme), _chunks(uri, guard, store) as chunks:
            size, sha256 = _copy(uri, chunks, copy, max_bytes)
        yield FileSource(name, size, lambda: path.open("rb")), sha256


def _copy(uri: str, chunks: Iterator[bytes], into: Any, max_bytes: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(f"{uri} is larger than the {max_bytes} bytes that are accepted here.", param="uri")
        digest.update(chunk)
        with full_is_told():
            into.write(chunk)
    with full_is_told():
        into.flush()
    return size, digest.hexdigest()


@contextmanager
def _explained(uri: str, scheme: str) -> Iterator[None]:
    try:
        yield
    except (TooLarge, StorageFull, InvalidRequest):
        raise
    except outbound.Refused as error:
        raise refused(f"{uri} is not reached from here: {error}") from error
    except FileNotFoundError as error:
        raise refused(f"there is nothing at {uri}: check the address") from error
    except ImportError as error:
        raise refused(
            f"this server has no driver for {scheme}://: install {driver(scheme)} there, or upload the file"
        ) from error
    except Exception as error:  # every driver has its own errors: boto's, Google's
        raise refused(f"{uri} cannot be read ({type(error).__name__}: {str(error)[:200]})") from error


@contextmanager
def _chunks(uri: str, guard: outbound.Guard, store: Store | None) -> Iterator[Iterator[bytes]]:
    if store is None or store.is_web:
        with outbound.request(guard, "GET", uri, schemes=HTTP, deadline_s=_DEADLINE_S, redirects=_REDIRECTS) as answer:
            _check_status(uri, answer.status)
            yield answer.chunks
    else:
        with open_object(uri, store) as file:
            yield iter(lambda: file.read(_CHUNK), b"")


def _check_status(uri: str, status: int) -> None:
    if status in (404, 410):
        raise FileNotFoundError(uri)
    if status != 200:
        raise refused(f"{uri} answers {status} instead of 200: check the address, and that it needs no login")
