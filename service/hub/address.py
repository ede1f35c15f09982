"""`hf://datasets/<owner>/<name>` and, for models, `hf://<owner>/<name>`; `@<revision>`: a branch, tag or commit."""

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from service.errors import InvalidRequest

SCHEME = "hf://"

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_REPOSITORY = re.compile(rf"{_NAME}(/{_NAME})?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
MAIN = "main"


@dataclass(frozen=True)
class Address:
    """A repository of the hub at a revision."""

    kind: Literal["datasets", "models"]
    repository: str
    revision: str = MAIN

    def __str__(self) -> str:
        return f"{self.plain}@{self.revision}"

    @property
    def plain(self) -> str:
        """Without its revision: what the prefixes of stores are compared with."""
        return f"{SCHEME}{'datasets/' if self.kind == 'datasets' else ''}{self.repository}"

    @property
    def api(self) -> str:
        """Path of the hub's API that tells the commit and its files."""
        return f"/api/{self.kind}/{self.repository}/revision/{quote(self.revision, safe='')}"

    def file(self, path: str) -> str:
        """Path of one file."""
        of_kind = "/datasets" if self.kind == "datasets" else ""
        return f"{of_kind}/{self.repository}/resolve/{quote(self.revision, safe='')}/{quote(path)}"


def is_hub(uri: str) -> bool:
    return uri.lower().startswith(SCHEME)


def read(uri: str, kind: Literal["datasets", "models"], *, param: str) -> Address:
    """Raises InvalidRequest with how to write it."""
    how = "hf://datasets/<owner>/<name>" if kind == "datasets" else "hf://<owner>/<name>"
    rest = uri[len(SCHEME) :]
    if kind == "datasets":
        if not rest.startswith("datasets/"):
            raise InvalidRequest(f"A data set of the hub is written {how}, with @<revision> or without.", param=param)
        rest = rest.removeprefix("datasets/")
    name, at, revision = rest.partition("@")
    revision = revision if at else MAIN
    if not _REPOSITORY.fullmatch(name) or ".." in name or not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidRequest(f"{uri[:200]!r} is no address of the hub: write {how}@<revision>.", param=param)
    return Address(kind, name, revision)
