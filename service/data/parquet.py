"""`.parquet`: one flat table. What its footer declares is checked before a row is read."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from service.data.errors import DataError
from service.data.limits import Limits
from service.data.raw import Raw
from service.data.source import FileSource
from service.data.tables import Stream, check_names, plain, read_table, target_columns
from service.spec import DatasetOptions

_PANDAS_INDEX = "__index_level_"
_ROWS = 65_536
_CELLS = 1 << 20
"""At most so many are read at a time."""
_BUFFER_BYTES = 1 << 20


def read_parquet(source: FileSource, options: DatasetOptions, limits: Limits) -> Raw:
    """Raises DataError."""
    with _opened(source, []) as parquet:
        schema = parquet.schema_arrow
        names = [name for name in schema.names if not name.startswith(_PANDAS_INDEX)]
        check_names(source.name, names, limits)
        targets = target_columns(source.name, names, options)
        _check_size(parquet, source.name, len(names), limits)
        rows = parquet.metadata.num_rows
        warnings = ["The index column that pandas wrote was not read."] if len(names) < len(schema.names) else []

    def batches(wanted: Sequence[str]) -> Iterator[pa.Table]:
        with _opened(source, targets) as parquet:
            for batch in parquet.iter_batches(max(1, min(_ROWS, _CELLS // len(wanted))), columns=list(wanted)):
                columns = [plain(pa.chunked_array([batch.column(name)]), source.name) for name in wanted]
                yield pa.table(columns, names=list(wanted))

    types = {name: _plain_type(schema.field(name).type) for name in names}
    return read_table(Stream(source.name, types, rows, batches), targets, warnings, limits)


@contextmanager
def _opened(source: FileSource, labels: Sequence[str]) -> Iterator[pq.ParquetFile]:
    """The file, read in pieces; texts in the columns `labels` stay references to the distinct ones."""
    with source.open() as file:
        try:
            yield pq.ParquetFile(file, read_dictionary=list(labels), buffer_size=_BUFFER_BYTES)
        except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError) as error:
            reason = str(error)[:200]
            raise DataError(f"{source.name} is no readable Parquet file ({reason}): write it again.") from error


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that `plain` makes of it."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    return pa.string() if pa.types.is_string_view(kind) else kind


def _check_size(parquet: pq.ParquetFile, name: str, columns: int, limits: Limits) -> None:
    """Refuses a table too large for memory: by its bytes, and by its cells, which compress to next to nothing."""
    metadata = parquet.metadata
    declared = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    unpacked = max(declared, metadata.num_rows * columns * 8)
    if unpacked > limits.max_bytes:
        raise DataError(
            f"{name} unpacks to {unpacked} bytes; at most {limits.max_bytes} are accepted: take a part of it."
        )
