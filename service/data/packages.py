"""Packages of user code: a zip or a wheel of Python files, looked at and unpacked, never run here.

Only what belongs into a package of pure Python gets in: no compiled code, no pickles, no links, no name that leads
outside or that hides a module of Python's, of ours, or of what every worker has. Sizes are checked as declared, and
reading stops where a file turns out larger.
"""

import io
import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict

from service.data import outline
from service.data.errors import DataError, printable
from service.data.source import UNREADABLE, FileSource

MAX_BYTES = 64 * 2**20
"""Of the file, and of all that it unpacks to."""
MAX_FILES, MAX_MODULES, MAX_NAMES = 2000, 500, 500
MAX_PATH = 240
PARSING_S = 30.0

PYTHON = (".py", ".pyi", ".typed")
BESIDES = (".txt", ".md", ".rst", ".toml", ".cfg", ".ini", ".json", ".yaml", ".yml", ".csv")
"""What code may read, and what nobody runs."""
_WITHOUT_ENDING = {"LICENSE", "LICENCE", "NOTICE", "AUTHORS", "README"}
_METADATA = (".dist-info", ".egg-info")
_SYSTEMS_OWN = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"}

TAKEN = frozenset(sys.stdlib_module_names) | {
    *("api", "benchmarks", "migrations", "service", "tests", "warpadam", "workers"),
    *("numpy", "pydantic", "ray", "safetensors", "scipy", "sqlalchemy", "torch"),
}
"""Top-level names that a worker has already: a package's own would never be found, or hide them."""


class Module(BaseModel):
    """`names`: what its top level defines or imports; `open`: more than that, which only running it would tell."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    names: list[str]
    open: bool = False


class PackageInfo(BaseModel):
    """What a package of code holds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["package"] = "package"
    format: Literal["package"] = "package"
    modules: list[Module]
    files: int
    size_bytes: int
    warnings: list[str] = []

    def problem(self, entrypoint: str) -> str | None:
        """Why this entrypoint cannot be in the package; None: it is, or only running it would tell."""
        module, _, function = entrypoint.partition(":")
        found = next((each for each in self.modules if each.name == module), None)
        if found is None:
            return f"the package has no module {module}: it has {_some([each.name for each in self.modules])}"
        if function not in found.names and not found.open:
            return f"the module {module} defines no {function}: it defines {_some(found.names)}"
        return None


def inspect(source: FileSource) -> PackageInfo:
    """Raises DataError where this is no package that could be used, with what to do."""
    with _opened(source) as archive:
        infos = _checked(source.name, archive)
        modules = {path: name for info in infos if (name := _module(path := info.filename)) is not None}
        sources = {path: _read(source.name, archive, archive.getinfo(path)) for path in modules}
    if not modules:
        raise DataError(f"{source.name} holds no module of Python: put the folder of the package into the zip.")
    if len(modules) > MAX_MODULES:
        raise DataError(f"{source.name} holds {len(modules)} modules; at most {MAX_MODULES} are accepted.")
    outlines = _outlines(source.name, sources)
    found = [_understood(source.name, path, modules[path], outlines[path]) for path in sorted(sources)]
    odd = [info.filename for info in infos if info.filename.endswith(".py") and info.filename not in modules]
    warnings = [f"Not importable, for their names are no names of Python: {_some(odd)}."] if odd else []
    return PackageInfo(modules=found, files=len(infos), size_bytes=source.size, warnings=warnings)


def unpack(data: bytes, folder: Path) -> None:
    """Writes a package's files below the folder. Raises DataError where it is not one that `inspect` would take."""
    source = FileSource("the package", len(data), lambda: io.BytesIO(data))
    with _opened(source) as archive:
        for info in _checked(source.name, archive):
            path = folder / info.filename
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_read(source.name, archive, info))


@contextmanager
def _opened(source: FileSource) -> Iterator[zipfile.ZipFile]:
    if source.size > MAX_BYTES:
        raise DataError(f"{source.name} has {source.size} bytes; a package of code has at most {MAX_BYTES}.")
    with source.open() as file:
        try:
            archive = zipfile.ZipFile(file)
        except (*UNREADABLE, ValueError) as error:
            raise DataError(f"{source.name} is no readable zip file or wheel ({error}): pack it again.") from error
        with archive:
            yield archive


def _checked(name: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The files that count, each of a kind and under a name that is accepted."""
    infos = [info for info in archive.infolist() if not info.is_dir() and not _is_noise(info.filename)]
    if len(infos) > MAX_FILES:
        raise DataError(f"{name} holds {len(infos)} files; a package of code has at most {MAX_FILES}.")
    declared = sum(info.file_size for info in infos)
    if declared > MAX_BYTES:
        raise DataError(f"{name} unpacks to {declared} bytes; a package of code has at most {MAX_BYTES}.")
    for info in infos:
        _check_name(name, info)
        _check_kind(name, info)
    paths = [info.filename.lower() for info in infos]
    twice = {path for path in paths if paths.count(path) > 1} if len(set(paths)) < len(paths) else set()
    if twice:
        raise DataError(f"{name} holds {min(twice)} twice: pack it again.")
    if below := sorted(
        {str(parent).lower() for info in infos for parent in PurePosixPath(info.filename).parents} & set(paths)
    ):
        raise DataError(f"{name} holds {below[0]} as a file and as a folder: pack it again.")
    return infos


def _is_noise(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return "__pycache__" in parts or any(part in _SYSTEMS_OWN or part.startswith("._") for part in parts)


def _check_name(name: str, info: zipfile.ZipInfo) -> None:
    raw, path = info.filename, PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in raw or ":" in raw or not path.parts:
        raise DataError(f"{name} holds a file named {raw!r}, which leads outside: pack the folder again.")
    if len(raw.encode()) > MAX_PATH or not raw.isprintable() or raw != str(path):
        raise DataError(f"{name} holds a file named {raw[:100]!r}: use short plain names.")
    top = path.parts[0].removesuffix(".py")
    if top in TAKEN and (len(path.parts) > 1 or raw.endswith(".py")):
        raise DataError(f"{name}: the name {top} is taken by a module that every worker has: rename {path.parts[0]}.")


def _check_kind(name: str, info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError(f"{name}: {path} is a link: put the file itself there.")
    if info.flag_bits & 1:
        raise DataError(f"{name} is encrypted: pack it without a password.")
    in_metadata = path.parts[0].endswith(_METADATA)
    if path.suffix.lower() not in (*PYTHON, *BESIDES) and path.name not in _WITHOUT_ENDING and not in_metadata:
        raise DataError(
            f"{name}: {path} is neither Python nor plain text, and a package of code holds nothing else "
            f"({', '.join((*PYTHON, *BESIDES))}): leave it out, or register it as data."
        )


def _read(name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as file:
            data = file.read(info.file_size + 1)
    except (*UNREADABLE, ValueError) as error:
        raise DataError(f"{name}: {info.filename} cannot be read ({error}): pack it again.") from error
    if len(data) != info.file_size:
        raise DataError(f"{name}: {info.filename} has another size than the archive says: pack it again.")
    return data


def _module(path: str) -> str | None:
    """The name under which the file is imported, where it can be."""
    if not path.endswith(".py"):
        return None
    parts = PurePosixPath(path).with_suffix("").parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    return ".".join(parts) if parts and all(part.isidentifier() for part in parts) else None


def _outlines(name: str, sources: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-I", "-S", outline.__file__]
    text = json.dumps({path: data.decode("latin-1") for path, data in sources.items()})
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=PARSING_S, env={}, check=True)
        found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise DataError(f"{name} cannot be parsed as Python: make its modules smaller and less nested.") from error
    return found


def _understood(name: str, path: str, module: str, found: dict[str, Any]) -> Module:
    if "error" in found:
        raise DataError(f"{name}: {path}, {found['error']}: mend it and upload it again.")
    names = [printable(each, 100) for each in found["names"]]
    return Module(name=module, names=names[:MAX_NAMES], open=found["open"] or len(names) > MAX_NAMES)


def _some(names: Sequence[str], most: int = 8) -> str:
    return (", ".join(names[:most]) or "nothing") + (f" and {len(names) - most} more" if len(names) > most else "")


def read(file: BinaryIO) -> bytes:
    """A package's bytes. Raises DataError beyond MAX_BYTES."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataError(f"a package of code has at most {MAX_BYTES} bytes")
    return data
