"""`.csv`: a header, then rows; separated by commas, semicolons or tabs; UTF-8; quoted fields may span lines.

The file is read twice, a block at a time: every field as text, to see what each column is as a whole, and what spoils
it; then as that.
"""

import csv
import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from service.data.errors import DataError
from service.data.limits import Limits
from service.data.raw import Raw
from service.data.source import FileSource
from service.data.tables import Stream, check_names, read_table, target_columns
from service.spec import DatasetOptions

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "?"]
_HEADER_BYTES = 8 << 20
_BOOLEANS = ["true", "false"]
_BLOCK_BYTES = 8 << 20
"""Read at a time; no row may be longer."""


def read_csv(source: FileSource, options: DatasetOptions, limits: Limits) -> Raw:
    """Raises DataError."""
    header, delimiter = _header(source)
    names = [name.strip() for name in header]
    check_names(source.name, names, limits)
    targets = target_columns(source.name, names, options)
    kinds = [_Kind() for _ in names]
    rows = 0
    for table in _tables(source, header, delimiter):
        rows += table.num_rows
        for kind, column in zip(kinds, table.columns, strict=True):
            kind.see(column)

    def batches(wanted: Sequence[str]) -> Iterator[pa.Table]:
        places = [names.index(name) for name in wanted]
        for table in _tables(source, header, delimiter):
            yield pa.table([kinds[place].typed(table.column(place)) for place in places], names=list(wanted))

    types = {name: kind.type for name, kind in zip(names, kinds, strict=True)}
    warnings = [] if delimiter == "," else [f"Read with {delimiter!r} between the fields."]
    return read_table(Stream(source.name, types, rows, batches), targets, warnings, limits)


def _header(source: FileSource) -> tuple[list[str], str]:
    """Column names, and what separates them: whichever of comma, semicolon and tab the header has most of."""
    with source.open() as file:
        start = file.read(_HEADER_BYTES)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{source.name} is UTF-16: save it as UTF-8.")
    first = start.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace").lstrip("\r\n")
    if not first.strip():
        raise DataError(f"{source.name} is empty: it needs a header line and rows.")
    delimiter = max(",;\t", key=first.split("\n", 1)[0].count)
    try:
        names = next(csv.reader(io.StringIO(first), delimiter=delimiter))
    except csv.Error as error:
        raise DataError(f"The header of {source.name} cannot be read ({error}): is it a text file?") from error
    if len(start) == _HEADER_BYTES and sum(map(len, names)) > _HEADER_BYTES // 2:
        raise DataError(f"The first line of {source.name} is longer than {_HEADER_BYTES} bytes: check its line ends.")
    if all(_is_number(name) for name in names):
        raise DataError(
            f"The first line of {source.name} holds numbers ({delimiter.join(names[:4])}…), not names: "
            "add a header line with one name per column."
        )
    return names, delimiter


def _tables(source: FileSource, names: list[str], delimiter: str) -> Iterator[pa.Table]:
    """The file as columns of text, some megabytes at a time."""
    with source.open() as file:
        try:
            reader = pa_csv.open_csv(
                file,
                read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
                parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
            if reader.schema.names != names:
                raise DataError(f"The header of {source.name} is quoted in an unusual way: quote whole names, or none.")
            for batch in reader:
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise DataError(f"{source.name}: {_advice(str(error))}") from error


def _advice(message: str) -> str:
    if "UTF8" in message or "utf-8" in message:
        return "it holds bytes that are not UTF-8: save it as UTF-8."
    if "Expected" in message and "columns" in message:
        plain = message.removeprefix("CSV parse error: ")
        return f"a row has another number of fields than the header. {plain[:200]} Quote fields that hold a separator."
    if "straddl" in message:
        return f"a row is longer than {_BLOCK_BYTES} bytes: look for a quote that is never closed."
    return f"it cannot be read as CSV ({message[:200]}): check its quotes and line ends."


class _Kind:
    """What a column of text is as a whole: integers, floats or booleans, with gaps, where all of it is; else text."""

    def __init__(self) -> None:
        self._may_be: list[pa.DataType] = [pa.int64(), pa.float64(), pa.bool_()]
        self._is_empty = True

    def see(self, column: pa.ChunkedArray) -> None:
        """Strikes out what a batch of the column shows that it is not."""
        if not self._may_be:
            return
        filled = _filled(column)
        if filled.null_count < len(filled):
            self._is_empty = False
            self._may_be = [kind for kind in self._may_be if _cast(filled, kind) is not None]

    @property
    def type(self) -> pa.DataType:
        if self._is_empty:
            return pa.float64()
        return self._may_be[0] if self._may_be else pa.string()

    def typed(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_string(self.type):
            text = pc.utf8_trim_whitespace(column)
            return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        return _cast(_filled(column), self.type)


def _filled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(column)
    gaps = pc.is_in(text, value_set=pa.array(_MISSING))
    return pc.if_else(gaps, pa.scalar(None, pa.string()), text)


def _cast(text: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """None where not all of it is of that kind."""
    if pa.types.is_boolean(kind):
        lower = pc.utf8_lower(text)
        known = pc.is_in(lower, value_set=pa.array(_BOOLEANS))
        return pc.equal(lower, "true") if pc.all(pc.or_(known, pc.is_null(lower))).as_py() else None
    try:
        return text.cast(kind)
    except pa.ArrowInvalid:
        return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
