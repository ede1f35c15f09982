"""Recognising a format: by name first, then by the first bytes."""

import zipfile

from service.data.errors import DataError
from service.data.images import ENDINGS as IMAGES
from service.data.source import UNREADABLE, FileSource, FolderSource
from service.spec import Format

_BY_ENDING: dict[str, Format] = {
    ".npz": "npz",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".py": "text",
    ".whl": "package",
}
_INSTEAD = {
    ".npy": "Put inputs and targets into one file with numpy.savez(file, x=..., y=...).",
    ".pkl": "Pickles are never read: save arrays with numpy.savez, or a table as .parquet.",
    ".pickle": "Pickles are never read: save arrays with numpy.savez, or a table as .parquet.",
    ".pt": "Torch files are pickles, which are never read: save arrays with numpy.savez(file, x=..., y=...).",
    ".pth": "Torch files are pickles, which are never read: save arrays with numpy.savez(file, x=..., y=...).",
    ".gz": "Unpack it first, or save a table as .parquet.",
    ".tgz": "Pack images as .zip.",
    ".tar": "Pack images as .zip.",
    ".xlsx": "Save the sheet as .csv.",
    ".xls": "Save the sheet as .csv.",
    ".json": "Save a table as .csv or .parquet; give format: text to train on its bytes.",
    ".jsonl": "Save a table as .csv or .parquet; give format: text to train on its bytes.",
}


def sniff(source: FileSource | FolderSource) -> Format:
    """The format of a source whose user did not name one. Raises DataError where it cannot be told."""
    if isinstance(source, FolderSource):
        return "images"
    name = source.name.lower().split("?")[0]
    for ending, form in _BY_ENDING.items():
        if name.endswith(ending):
            return form
    if (found := _by_content(source)) is not None:
        return found
    for ending, advice in _INSTEAD.items():
        if name.endswith(ending):
            raise DataError(f"{source.name} is in no format that is read here. {advice}")
    raise DataError(
        f"The format of {source.name} cannot be told from its name: give format as npz, csv, parquet, images, text or "
        "package."
    )


def _by_content(source: FileSource) -> Format | None:
    with source.open() as file:
        start = file.read(4)
        if start == b"PAR1":
            return "parquet"
        if start[:2] != b"PK":
            return None
        try:
            with zipfile.ZipFile(file) as archive:
                names = archive.namelist()
        except (*UNREADABLE, ValueError) as error:
            raise DataError(f"{source.name} is a damaged zip file: pack it again.") from error
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.endswith(".py") for name in names) and not any(name.lower().endswith(IMAGES) for name in names):
        return "package"
    return None if any(name.endswith((".xml", ".pkl")) for name in names) else "images"
