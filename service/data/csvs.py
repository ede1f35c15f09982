"""`.csv`: a header, then rows; separated by commas, semicolons or tabs; UTF-8; quoted fields may span lines.

Every field is read as text and each column is then typed as a whole, so that what spoils a column can be named.
"""

import csv
import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from service.data.errors import DataError
from service.data.limits import Limits
from service.data.raw import Raw
from service.data.source import FileSource
from service.data.tables import check_names, read_table, target_columns
from service.spec import DatasetOptions

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NAN", "null", "NULL", "None", "?"]
_HEADER_BYTES = 8 << 20
_BOOLEANS = {"true": "1", "false": "0"}


def read_csv(source: FileSource, options: DatasetOptions, limits: Limits) -> Raw:
    """Raises DataError."""
    header, delimiter = _header(source)
    names = [name.strip() for name in header]
    check_names(source.name, names, limits)
    targets = target_columns(source.name, names, options)
    table = _read(source, header, delimiter)
    typed = pa.table([_typed(column) for column in table.columns], names=names)
    warnings = [] if delimiter == "," else [f"Read with {delimiter!r} between the fields."]
    return read_table(typed, source.name, targets, warnings)


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


def _read(source: FileSource, names: list[str], delimiter: str) -> pa.Table:
    """The file as columns of text."""
    with source.open() as file:
        try:
            table = pa_csv.read_csv(
                file,
                read_options=pa_csv.ReadOptions(use_threads=False),  # or errors would not know their row
                parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
                ),
            )
            found = table.column_names
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise DataError(f"{source.name}: {_advice(str(error))}") from error
    if found != names:
        raise DataError(f"The header of {source.name} is quoted in an unusual way: quote whole names, or none.")
    return table


def _advice(message: str) -> str:
    if "UTF8" in message or "utf-8" in message:
        return "it holds bytes that are not UTF-8: save it as UTF-8."
    if "Expected" in message and "columns" in message:
        plain = message.removeprefix("CSV parse error: ")
        return f"a row has another number of fields than the header. {plain[:200]} Quote fields that hold a separator."
    return f"it cannot be read as CSV ({message[:200]}): check its quotes and line ends."


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text as integers, floats or booleans where all of it is that, with gaps as nulls; else as text."""
    text = pc.utf8_trim_whitespace(column)
    gaps = pc.is_in(text, value_set=pa.array(_MISSING))
    filled = pc.if_else(gaps, pa.scalar(None, pa.string()), text)
    if filled.null_count == len(filled):
        return filled.cast(pa.float64())
    for kind in (pa.int64(), pa.float64()):
        try:
            return filled.cast(kind)
        except pa.ArrowInvalid:
            continue
    lower = pc.utf8_lower(filled)
    if pc.all(pc.is_in(lower.drop_null(), value_set=pa.array(list(_BOOLEANS)))).as_py():
        return pc.equal(lower, "true")
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
