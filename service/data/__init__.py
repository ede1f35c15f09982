"""Datasets as files: readers by format behind two functions, `inspect` and `load`.

Readers never run anything that a file says (no pickle), never unpack to disk, and bound what they read.
"""

from service.data.errors import DataError, printable
from service.data.info import Arrays, DatasetInfo, InputInfo, Normalization, TargetInfo
from service.data.limits import Limits
from service.data.reading import inspect, load
from service.data.source import BuiltinSource, FileSource, FolderSource, Member, Source

__all__ = [
    "Arrays",
    "BuiltinSource",
    "DataError",
    "DatasetInfo",
    "FileSource",
    "FolderSource",
    "InputInfo",
    "Limits",
    "Member",
    "Normalization",
    "Source",
    "TargetInfo",
    "inspect",
    "load",
    "printable",
]
