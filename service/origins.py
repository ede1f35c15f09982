"""Where the data of a dataset lies, what a row keeps of that, and opening it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from service import data, outbound
from service.data import builtin, outside
from service.data.source import BuiltinSource, FileSource, Source
from service.db.models import Dataset
from service.hub.address import is_hub
from service.hub.loading import Wanted
from service.settings import Settings
from service.spec import DatasetOptions, DatasetRef
from service.storage import Storage, Stored


@dataclass(frozen=True)
class Uploaded:
    """A file that lies in the storage; `filename` is what its user called it."""

    stored: Stored
    filename: str
    hub: dict[str, Any] | None = None
    """What of the hub it was made from, where it was: pinned to a commit, and never asked for again."""


@dataclass(frozen=True)
class Outside:
    """A file or folder that lies elsewhere: below the server's data roots, or at a URL."""

    uri: str
    project: str
    """Whose stores may be read."""


Origin = Uploaded | Outside | BuiltinSource | Wanted


def outside_origin(ref: DatasetRef, project: str) -> Outside | Wanted:
    """Where the `uri` of a request leads."""
    uri = ref.uri or ""
    if not is_hub(uri):
        return Outside(uri, project)
    columns = None if ref.columns is None else tuple(ref.columns)
    return Wanted(uri, project, ref.config, ref.split or "train", columns, ref.max_length or 256)


def uri_of(origin: Origin) -> str | None:
    """What a row keeps of where it lies; a built-in lies nowhere."""
    if isinstance(origin, Uploaded):
        return origin.stored.path
    return origin.uri if isinstance(origin, Outside | Wanted) else None


def name_of(origin: Origin) -> str:
    """What it is called where nobody named it."""
    if isinstance(origin, Uploaded):
        return origin.filename
    if isinstance(origin, Outside | Wanted):
        return origin.uri.rstrip("/").rsplit("/", 1)[-1]
    return f"{origin.name}/{origin.part}" if origin.part else origin.name


def stored_options(origin: Origin, options: DatasetOptions) -> dict[str, Any]:
    """What a row keeps of how it is read; two that agree in this and in `uri_of` are one."""
    stored = options.model_dump(mode="json")
    if isinstance(origin, BuiltinSource):
        stored |= {"builtin": origin.name, "part": origin.part, "release": builtin.release(origin)}
    elif isinstance(origin, Uploaded):
        stored["filename"] = data.printable(origin.filename, 200)
        if origin.hub is not None:
            stored["hub"] = origin.hub
    return stored


def origin_of(row: Dataset) -> Origin:
    """The origin that a row was made from."""
    if row.uploaded:
        stored = Stored(row.uri or "", row.sha256 or "", row.size or 0)
        return Uploaded(stored, row.options.get("filename") or "the upload", row.options.get("hub"))
    if row.uri is not None:
        return Outside(row.uri, row.project)
    return BuiltinSource(row.options["builtin"], row.options.get("part"))


@contextmanager
def opened(storage: Storage, settings: Settings, origin: Origin) -> Iterator[tuple[Source, str]]:
    """The source and its sha256, for as long as the context lasts."""
    if isinstance(origin, Uploaded):
        stored = origin.stored
        yield FileSource(origin.filename, stored.size, lambda: storage.open(stored.path)), stored.sha256
    elif isinstance(origin, Outside):
        with outside.opened(
            origin.uri,
            settings.data_roots,
            settings.max_upload_bytes,
            outbound.Guard.of(settings),
            project=origin.project,
            stores=settings.data_stores,
        ) as found:
            yield found
    elif isinstance(origin, BuiltinSource):
        yield origin, builtin.digest(origin)
    else:
        raise TypeError("a data set of the hub is fetched before it is read")


def limits(settings: Settings) -> data.Limits:
    """How much of it may be read, and held in memory."""
    return data.Limits(
        max_bytes=settings.max_upload_bytes, memory_bytes=settings.data_memory_bytes, scratch=settings.scratch
    )
