"""`inspect` and `load`: a source becomes what is known of it, or the arrays that training gets.

Both take the same way: sniff the format, read, check, split. `load` then converts, `inspect` does not.
"""

from service.data import builtin
from service.data.csvs import read_csv
from service.data.errors import DataError
from service.data.formats import sniff
from service.data.images import read_images
from service.data.info import Arrays, DatasetInfo
from service.data.limits import DEFAULT, Limits
from service.data.npz import read_npz
from service.data.parquet import read_parquet
from service.data.prepare import Prepared, prepare
from service.data.raw import Raw, RawText
from service.data.source import BuiltinSource, FileSource, FolderSource, Source
from service.data.text import PreparedText, prepare_text, read_text
from service.spec import DatasetOptions, Format, Task


def inspect(source: Source, options: DatasetOptions, limits: Limits = DEFAULT) -> DatasetInfo:
    """What the dataset is. Raises DataError where it cannot be used, with what to do."""
    return _prepare(source, options, limits).info


def load(source: Source, options: DatasetOptions, task: Task, limits: Limits = DEFAULT) -> Arrays:
    """The dataset's arrays for `task`. Raises DataError where it cannot be used, or not for that task."""
    prepared = _prepare(source, options, limits)
    if problem := prepared.info.problem(task):
        raise DataError(problem)
    return prepared.arrays(task, limits)


def _prepare(source: Source, options: DatasetOptions, limits: Limits) -> Prepared | PreparedText:
    if isinstance(source, BuiltinSource):
        raw = builtin.read(source)
        form: Format | None = None
        size = len(raw.data) if isinstance(raw, RawText) else raw.train.x.nbytes + raw.train.y.nbytes
    else:
        if source.size > limits.max_bytes:
            raise DataError(
                f"{source.name} has {source.size} bytes; at most {limits.max_bytes} are accepted: take a part of it."
            )
        form = options.format or sniff(source)
        raw, size = _read(source, form, options, limits), source.size
    if isinstance(raw, RawText):
        return prepare_text(raw, options, form, size)
    return prepare(raw, options, form, size)


def _read(source: FileSource | FolderSource, form: Format, options: DatasetOptions, limits: Limits) -> Raw | RawText:
    if form == "images":
        return read_images(source, options, limits)
    if isinstance(source, FolderSource):
        raise DataError(
            f"{source.name} is a folder; {form} is one file: name the file, or leave format out for images."
        )
    match form:
        case "npz":
            return read_npz(source, options, limits)
        case "csv":
            return read_csv(source, options, limits)
        case "parquet":
            return read_parquet(source, options, limits)
        case "text":
            return read_text(source, limits)
        case "package":
            raise DataError(f"{source.name} is a package of code, and no data to train on.")
