"""Reading the whole of some data, to say what it is before anybody trains on it."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from service import data
from service.data import formats, packages
from service.data.source import BuiltinSource, FileSource, Progress, Source, watched
from service.errors import InvalidRequest
from service.hub import loading
from service.hub.client import Snapshot
from service.origins import Origin, Uploaded, limits, opened
from service.settings import Settings
from service.spec import DatasetOptions
from service.storage import Storage

PACKAGE = "package"
"""The format of a package of user code, which is registered like data and never trained on."""


@dataclass(frozen=True)
class Examined:
    """What `examine` found; exactly one of `info` and `error` is there."""

    origin: Origin
    options: DatasetOptions
    """As given, with the format that was recognised."""
    sha256: str
    size: int
    info: data.DatasetInfo | packages.PackageInfo | None = None
    error: str | None = None


def examine(
    storage: Storage, settings: Settings, origin: Origin, options: DatasetOptions, progress: Progress | None = None
) -> Examined:
    """Reads the whole data, and tells `progress` how many bytes of an upload it has read.

    Raises InvalidRequest (param `uri` or `builtin`) where `origin` itself cannot be read, TooLarge where it is that.
    """
    if isinstance(origin, loading.Wanted):
        return examine_fetched(storage, settings, origin, loading.pin(settings, origin), options)
    with ExitStack() as stack:
        try:
            source, sha256 = stack.enter_context(opened(storage, settings, origin))
            if progress is not None and isinstance(source, FileSource):
                source = watched(source, progress)
        except data.DataError as error:
            raise InvalidRequest(str(error), param="builtin") from error
        try:
            info = _inspect(source, options, settings)
        except data.DataError as error:
            size = 0 if isinstance(source, BuiltinSource) else source.size
            return Examined(origin, options, sha256, size, error=str(error))
    understood = options.model_copy(update={"format": info.format})
    return Examined(origin, understood, sha256, info.size_bytes, info=info)


def examine_fetched(
    storage: Storage, settings: Settings, wanted: loading.Wanted, snapshot: Snapshot, options: DatasetOptions
) -> Examined:
    """A data set of the hub becomes an upload of ours, which is then read like any other."""
    fetched = loading.fetch(storage, settings, wanted, snapshot, options.target)
    origin = Uploaded(fetched.stored, fetched.filename, of_hub(wanted, snapshot, options))
    read_as = options.model_copy(update={"format": fetched.format, "target": fetched.target})
    return examine(storage, settings, origin, DatasetOptions.model_validate(read_as.model_dump()))


def of_hub(wanted: loading.Wanted, snapshot: Snapshot, options: DatasetOptions) -> dict[str, Any]:
    """What is stored of it, and makes two of them equal; `options` themselves say how our own file is read."""
    columns = None if wanted.columns is None else list(wanted.columns)
    asked = {"config": wanted.config, "split": wanted.split, "columns": columns, "max_length": wanted.max_length}
    return {"uri": str(snapshot.address), "commit": snapshot.commit, **asked, "target": options.target}


def _inspect(source: Source, options: DatasetOptions, settings: Settings) -> data.DatasetInfo | packages.PackageInfo:
    if isinstance(source, FileSource) and (options.format or formats.sniff(source)) == PACKAGE:
        return packages.inspect(source)
    return data.inspect(source, options, limits(settings))
