"""Text: any bytes, one after the other; the last part of them validates."""

from dataclasses import dataclass

import numpy as np

from service.data.arrays import empty, fill
from service.data.errors import DataError
from service.data.info import Arrays, DatasetInfo, InputInfo, TargetInfo, no_targets
from service.data.limits import Limits
from service.data.raw import Array, RawText
from service.data.source import FileSource
from service.data.split import held_out
from service.spec import DatasetOptions, Format, Task

_SHORTEST = 4
"""Bytes: two in each part, one to read and one to predict."""


@dataclass(frozen=True)
class PreparedText:
    info: DatasetInfo
    data: bytes | Array

    def arrays(self, _task: Task, _limits: Limits) -> Arrays:
        x = np.frombuffer(self.data, dtype=np.uint8)
        none = no_targets()
        return Arrays(x[: self.info.train], none, x[self.info.train :], none, self.info)


def read_text(source: FileSource, limits: Limits) -> RawText:
    """Raises DataError where the file has not the size that it had."""
    data = empty((source.size,), np.uint8, limits)
    with source.open() as file:
        try:
            fill(data, file)
        except EOFError as error:
            raise DataError(f"{source.name} has changed while it was read: try again.") from error
    return RawText(data, source.name)


def prepare_text(raw: RawText, options: DatasetOptions, form: Format | None, size: int) -> PreparedText:
    total = len(raw.data)
    if total < _SHORTEST:
        raise DataError(
            f"{raw.name} has {total} bytes; a text needs at least {_SHORTEST}, and is useful from thousands."
        )
    if options.normalize is not None:
        raise DataError("normalize is for tables and images, and this is text: leave it out.")
    val = max(2, held_out(total, options.val_fraction))
    val = min(val, total - 2)
    info = DatasetInfo(
        kind="text",
        format=form,
        train=total - val,
        val=val,
        input=InputInfo(shape=[], dtype="uint8"),
        target=TargetInfo(kind="none", kinds=["none"], shape=[], dtype="none"),
        size_bytes=size,
        warnings=["target names a column, and text has none: it was not used."] if options.target else [],
    )
    return PreparedText(info, raw.data)
