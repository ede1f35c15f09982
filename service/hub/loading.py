"""From the name of a data set to one file in the storage, like an upload; training never asks the hub again."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.errors import InvalidRequest
from service.hub import address, card, extras
from service.hub.client import Hub, Snapshot
from service.settings import Settings
from service.storage import Storage, Stored
from service.supervisor import with_our_packages

_README = "README.md"
_README_BYTES = 2**22
_MAX_FILES = 20_000
"""Of a repository whose data sets are looked for; a name in it may be given in the address's stead."""
_LOOK_S, _CONVERT_S = 120.0, 3600.0
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
KIND = "datasets"


@dataclass(frozen=True)
class Wanted:
    """A data set of the hub, as a request names it."""

    uri: str
    project: str
    config: str | None = None
    split: str = "train"
    columns: tuple[str, ...] | None = None
    max_length: int = 256


@dataclass(frozen=True)
class Fetched:
    stored: Stored
    filename: str
    format: str
    target: str | None
    """The column that is the target, where the file has columns."""


def pin(settings: Settings, wanted: Wanted) -> Snapshot:
    """The commit that is meant. Raises InvalidRequest, Unavailable."""
    extras.require("datasets", "A data set of the hub", "uri")
    return Hub(settings, wanted.project, "uri").pin(address.read(wanted.uri, "datasets", param="uri"))


def fetch(storage: Storage, settings: Settings, wanted: Wanted, snapshot: Snapshot, target: str | None) -> Fetched:
    """Raises InvalidRequest, TooLarge, Unavailable, StorageFull."""
    if len(snapshot.files) > _MAX_FILES:
        raise _unusable(snapshot, f"it has {len(snapshot.files)} files; at most {_MAX_FILES} are looked through")
    hub, most = Hub(settings, wanted.project, "uri"), settings.max_upload_bytes
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="warpadam-")))
        for part in ("data", "cache", "out"):
            (folder / part).mkdir()
        readme = b""
        if _README in snapshot.files:
            hub.fetch(snapshot, [_README], folder / "cache", _README_BYTES)
            readme = (folder / "cache" / _README).read_bytes()
        asked = {
            "folder": str(folder / "data"), "cache": str(folder / "cache"), "out": str(folder / "out"),
            "config": wanted.config, "split": wanted.split, "columns": wanted.columns, "target": target,
            "max_length": wanted.max_length, "max_bytes": most,
        }  # fmt: skip
        _lay_out(folder / "data", snapshot, card.rewritten(readme))
        reader = stack.enter_context(_Reader(snapshot, folder))
        found = reader.ask("files", asked, _LOOK_S)
        paths = sorted({path for each in found["files"].values() for path in each})
        hub.fetch(snapshot, paths, folder / "data", most)
        for path in set(snapshot.files) - set(paths):
            (folder / "data" / path).unlink(missing_ok=True)
        (folder / "data" / _README).write_text(card.rewritten(readme, only=(found["config"], found["files"])))
        made = reader.ask("convert", {**asked, "config": found["config"]}, _CONVERT_S)
        path = folder / "out" / made["file"]
        stored = storage.put_file(KIND, path, most)
    plain = snapshot.address.repository.rpartition("/")[2]
    return Fetched(stored, f"{plain}{path.suffix}", made["format"], made["target"])


def _lay_out(folder: Path, snapshot: Snapshot, readme: str) -> None:
    """Empty files in the places of the repository's."""
    for path in snapshot.files:
        if path.endswith((".py", ".yaml", ".md", "dataset_infos.json")) or path.startswith("."):
            continue
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        except OSError as error:
            raise _unusable(snapshot, f"it has a file {path[:100]!r}, which cannot lie in a folder") from error
    (folder / _README).write_text(readme)


class _Reader:
    """`service.hub.convert`, which answers line by line for as long as the context lasts."""

    def __init__(self, snapshot: Snapshot, home: Path) -> None:
        self._snapshot, self._home = snapshot, home

    def __enter__(self) -> Self:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        own = {"HOME": str(self._home), "HF_HOME": str(self._home / "cache"), "TMPDIR": str(self._home)}
        self._said = (self._home / "said").open("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "service.hub.convert"],
            env=with_our_packages({**kept, **offline, **own}),
            cwd=self._home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()

    def ask(self, what: str, asked: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Raises InvalidRequest with what the library says, and where it takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, end)
        timer.start()
        try:
            self._process.stdin.write(json.dumps({**asked, "what": what}) + "\n")
            self._process.stdin.flush()
            said: dict[str, Any] = json.loads(self._process.stdout.readline())
        except (OSError, ValueError) as error:
            if late.is_set():
                reason = f"reading it took more than {limit_s:.0f} s: take a part of it"
                raise _unusable(self._snapshot, reason) from error
            self._said.seek(0)
            last = (self._said.read()[-2000:].strip().splitlines() or ["no word"])[-1]
            raise _unusable(self._snapshot, f"its reader ended early ({last[:200]})") from error
        finally:
            timer.cancel()
        if "problem" in said:
            raise _unusable(self._snapshot, said["problem"])
        return said


def _unusable(snapshot: Snapshot, reason: str) -> InvalidRequest:
    text = "".join(each if each.isprintable() else "\ufffd" for each in reason)
    return InvalidRequest(f"{snapshot.address.plain} cannot be used: {text}.", param="uri")
