"""The families by name. Each module builds its own, from data that is on any machine."""

from collections.abc import Callable, Mapping
from functools import cache

from benchmarks.convergence.families import images, tables, text
from benchmarks.convergence.tasks import Family

FAMILIES: Mapping[str, Callable[[], Family]] = {
    "inpaint": images.inpaint,
    "inpaint-shared": images.inpaint_shared,
    "inpaint-colour": images.inpaint_colour,
    "digits": images.digits,
    "convnet": images.convnet,
    "table-values": tables.values,
    "table-classes": tables.classes,
    "text": text.text,
    "text-young": text.young,
    "text-long": text.longer,
    "shuffled": images.shuffled,
}


@cache
def family(name: str) -> Family:
    """A family, checked, built once a process."""
    return FAMILIES[name]().check()
