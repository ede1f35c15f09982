"""`.parquet`: one flat table. What its footer declares is checked before a row is read."""

import pyarrow as pa
import pyarrow.parquet as pq

from service.data.errors import DataError
from service.data.limits import Limits
from service.data.raw import Raw
from service.data.source import FileSource
from service.data.tables import check_names, read_table, target_columns
from service.spec import DatasetOptions

_PANDAS_INDEX = "__index_level_"


def read_parquet(source: FileSource, options: DatasetOptions, limits: Limits) -> Raw:
    """Raises DataError."""
    with source.open() as file:
        try:
            parquet = pq.ParquetFile(file)
            names = [name for name in parquet.schema_arrow.names if not name.startswith(_PANDAS_INDEX)]
            check_names(source.name, names, limits)
            targets = target_columns(source.name, names, options)
            _check_size(parquet, source.name, len(names), limits)
            table = parquet.read(columns=names)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            reason = str(error)[:200]
            raise DataError(f"{source.name} is no readable Parquet file ({reason}): write it again.") from error
    dropped = len(names) < len(parquet.schema_arrow.names)
    warnings = ["The index column that pandas wrote was not read."] if dropped else []
    return read_table(table, source.name, targets, warnings)


def _check_size(parquet: pq.ParquetFile, name: str, columns: int, limits: Limits) -> None:
    """Refuses a table too large for memory: by its bytes, and by its cells, which compress to next to nothing."""
    metadata = parquet.metadata
    declared = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    unpacked = max(declared, metadata.num_rows * columns * 8)
    if unpacked > limits.max_bytes:
        raise DataError(
            f"{name} unpacks to {unpacked} bytes; at most {limits.max_bytes} are accepted: take a part of it."
        )
