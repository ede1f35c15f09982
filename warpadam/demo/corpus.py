"""Text domains cut from Python's own standard library: real, and on every machine."""

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from warpadam.demo.plan import BASE_DOMAIN
from warpadam.sdk.errors import WarpAdamError

_LONGEST = 1_000_000
_SHORTEST = 20_000


def cut(domain: str, folder: Path) -> Path:
    """Writes `<domain>.txt`: a package's modules one after the other, or for the base the top-level modules.

    Raises WarpAdamError where this Python came without the sources of its library.
    """
    text = b"".join(file.read_bytes() for file in _files(domain))[:_LONGEST]
    if len(text) < _SHORTEST:
        raise WarpAdamError(
            f"This Python has no sources of its standard library's {domain}: found {len(text)} bytes. "
            "Install Python's full standard library (Debian and Ubuntu: libpython3-stdlib)."
        )
    path = folder / f"{domain}.txt"
    path.write_bytes(text)
    return path


def _files(domain: str) -> Iterator[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    if domain == BASE_DOMAIN:
        yield from sorted(library.glob("*.py"))
        return
    for file in sorted((library / domain).rglob("*.py")):
        if "test" not in file.parts and "tests" not in file.parts:
            yield file
