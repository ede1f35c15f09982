"""Every trained run is one line of JSON, appended at once; a run whose line is there is never trained again.

The key is a hash of the whole configuration, which holds digests of the data, the start and P, and the version of the
code that the numbers depend on. Killing loses the stack of runs in progress; a line that was cut off is left out.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

Configuration = Mapping[str, object]
Result = Mapping[str, float]


def key_of(configuration: Configuration) -> str:
    """16 hex digits; equal configurations, equal keys."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def code_version(*files: Path) -> str:
    """12 hex digits of what these Python files do: comments, docstrings and layout do not count."""
    total = hashlib.sha256()
    for file in files:
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        total.update(ast.dump(tree).encode())
    return total.hexdigest()[:12]


class Store:
    """The results by key, in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._results: dict[str, Result] = dict(_read(path))

    def __len__(self) -> int:
        return len(self._results)

    def __contains__(self, key: str) -> bool:
        return key in self._results

    def __getitem__(self, key: str) -> Result:
        return self._results[key]

    def add(self, rows: Iterable[tuple[Configuration, Result]]) -> None:
        """Appends the rows and brings them to the disk before it returns."""
        added = {key_of(configuration): (configuration, result) for configuration, result in rows}
        lines = [
            json.dumps({"key": key, "configuration": configuration, "result": result}, sort_keys=True)
            for key, (configuration, result) in added.items()
        ]
        with self._path.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        self._results.update({key: result for key, (_, result) in added.items()})


def _read(path: Path) -> Iterable[tuple[str, Result]]:
    if not path.exists():
        return
    content = path.read_text()
    if content and not content.endswith("\n"):  # killed while writing: the next line must not join the broken one
        content = content[: content.rfind("\n") + 1]
        path.write_text(content)
    for line in content.splitlines():
        row = json.loads(line)
        yield row["key"], row["result"]
