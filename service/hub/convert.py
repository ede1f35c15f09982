"""`python -m service.hub.convert`: what `datasets` makes of files that were fetched from the hub. A process of its own.

It reads lines of JSON from stdin and answers each with one. Its environment names no token, the library is told that it
is offline, and it sees one folder: with empty files in the places of the repository's (`files`), so that the library
says which of them a configuration and split mean, and then with those files in it (`convert`). No code of a repository
is run: `datasets` has no such thing any more, and only the readers in `_READERS` are used.

What comes out is a file as users upload them: a table (Parquet), images in a folder per class (zip), text, or, for text
with labels, its bytes in rows of equal length (npz). `Value("string")` beside the target is text, and must be alone.
"""

import json
import re
import resource
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_READERS = frozenset({"arrow", "csv", "imagefolder", "json", "parquet", "text"})
_BATCH = 1000
_STARTS = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"II*": ".tif",
    b"MM\0*": ".tif",
}
_SPLIT = re.compile(r"[\w.-]+(\[[^\]]*\])?(\+[\w.-]+(\[[^\]]*\])?)*")


class Unusable(Exception):
    """What the user reads."""


def files(asked: dict[str, Any]) -> dict[str, Any]:
    """Which files the split needs, relative to the folder, and the configuration's own name."""
    builder = _builder(asked)
    reader = type(builder).__module__.rpartition(".")[-1]
    if reader not in _READERS:
        raise Unusable(f"it is in the form {reader}: what is read is {', '.join(sorted(_READERS))}")
    found = {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}
    wanted = _splits(asked["split"])
    if missing := [split for split in wanted if split not in found]:
        raise Unusable(f"it has no split {missing[0]!r}, but {', '.join(found) or 'none'}: give split")
    folder = Path(asked["folder"]).resolve()
    paths = {split: [_below(folder, path) for path in found[split]] for split in wanted}
    return {"config": str(builder.config.name), "files": paths}


def _builder(asked: dict[str, Any]) -> Any:
    import datasets

    try:
        return datasets.load_dataset_builder(asked["folder"], asked["config"], cache_dir=asked["cache"])
    except Exception as error:
        raise Unusable(_said(error)) from error


def _below(folder: Path, path: str) -> str:
    """Raises Unusable for a file that does not lie in the folder, whatever the repository's own description says."""
    found = Path(path)
    if "://" in path or "::" in path or found.is_symlink() or not found.resolve().is_relative_to(folder):
        raise Unusable("it names files that are not its own")
    return found.resolve().relative_to(folder).as_posix()


def _splits(split: str) -> list[str]:
    """The names in an expression such as `train[:10%]+test`."""
    if not _SPLIT.fullmatch(split):
        raise Unusable(f"split {split!r} is none: write train, train[:10%] or train+test")
    return list(dict.fromkeys(each.partition("[")[0] for each in split.split("+")))


def convert(asked: dict[str, Any]) -> dict[str, Any]:
    """The split as one file in `out`: its name, and its format here."""
    import datasets

    datasets.disable_progress_bars()
    try:
        rows = datasets.load_dataset(
            asked["folder"],
            asked["config"],
            split=asked["split"],
            cache_dir=asked["cache"],
            verification_mode="no_checks",
        )
    except Exception as error:
        raise Unusable(_said(error)) from error
    rows = _chosen(rows, asked["columns"], asked["target"])
    if len(rows) == 0:
        raise Unusable("the split has no rows")
    kinds = {name: _kind(feature) for name, feature in rows.features.items()}
    out, target = Path(asked["out"]), asked["target"] or _target(kinds)
    inputs = [name for name in kinds if name != target]
    if len(inputs) == 1 and kinds[inputs[0]] == "image":
        return _images(rows, inputs[0], target, out)
    if len(inputs) == 1 and kinds[inputs[0]] == "text":
        if target is None:
            return _text(rows, inputs[0], out)
        return _labelled_text(rows, inputs[0], target, asked["max_length"], out)
    return _table(rows, target, kinds, out)


def _chosen(rows: Any, columns: list[str] | None, target: str | None) -> Any:
    if columns is None:
        return rows
    wanted = list(dict.fromkeys([*columns, *([target] if target else [])]))
    if missing := [name for name in wanted if name not in rows.features]:
        raise Unusable(f"it has no column {missing[0]!r}, but {', '.join(rows.features)}")
    return rows.select_columns(wanted)


def _kind(feature: Any) -> str:
    import datasets

    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, datasets.ClassLabel):
        return "label"
    if isinstance(feature, datasets.Value):
        return "text" if feature.dtype in ("string", "large_string") else "value"
    return "other"


def _target(kinds: dict[str, str]) -> str | None:
    """The usual names, or the one column of class labels."""
    labels = [name for name, kind in kinds.items() if kind == "label"]
    usual = [name for name in ("target", "label", "labels") if name in kinds]
    return usual[0] if usual else labels[0] if len(labels) == 1 else None


def _labels(rows: Any, target: str) -> list[Any]:
    """A target's values; of class labels their names."""
    feature, values = rows.features[target], rows[target][:]
    if any(value is None for value in values):
        raise Unusable(f"column {target!r} has gaps: take a split without unlabelled rows")
    if _kind(feature) != "label":
        return list(values)
    if any(value < 0 for value in values):
        raise Unusable(f"column {target!r} has rows without a label: take another split")
    return [feature.int2str(value) for value in values]


def _table(rows: Any, target: str | None, kinds: dict[str, str], out: Path) -> dict[str, Any]:
    import datasets

    if target is not None and kinds.get(target) == "label":
        names = _labels(rows, target)
        rows = rows.remove_columns(target).add_column(target, names)
    plain = {name: datasets.Value("int64") for name, kind in kinds.items() if kind == "label" and name != target}
    if plain:
        rows = rows.cast(datasets.Features({**rows.features, **plain}))
    rows.to_parquet(out / "table.parquet")
    return {"file": "table.parquet", "format": "parquet", "target": target}


def _text(rows: Any, column: str, out: Path) -> dict[str, Any]:
    with (out / "text.txt").open("w", encoding="utf-8", newline="") as file:
        for text in _column(rows, column):
            file.write(f"{text or ''}\n")
    return {"file": "text.txt", "format": "text", "target": None}


def _labelled_text(rows: Any, column: str, target: str, length: int, out: Path) -> dict[str, Any]:
    """Each text as its first bytes in UTF-8, zeros behind them."""
    x = np.zeros((len(rows), length), np.uint8)
    for row, text in enumerate(_column(rows, column)):
        found = np.frombuffer((text or "").encode()[:length], np.uint8)
        x[row, : len(found)] = found
    np.savez(out / "text.npz", x=x, y=np.array(_labels(rows, target)))
    return {"file": "text.npz", "format": "npz", "target": None}


def _images(rows: Any, column: str, target: str | None, out: Path) -> dict[str, Any]:
    import datasets

    if target is None:
        raise Unusable(f"it has images and no column of labels: name it as target, of {', '.join(rows.features)}")
    labels = [re.sub(r"[^\w .-]", "_", str(label)).strip(". ") or "_" for label in _labels(rows, target)]
    width = len(str(len(rows)))
    with zipfile.ZipFile(out / "images.zip", "w", zipfile.ZIP_STORED) as archive:
        for row, image in enumerate(_column(rows.cast_column(column, datasets.Image(decode=False)), column)):
            data = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
            name = zipfile.ZipInfo(f"{labels[row]}/{row:0{width}d}{_ending(data)}")
            archive.writestr(name, data)
    return {"file": "images.zip", "format": "images", "target": None}


def _ending(data: bytes) -> str:
    return next((ending for start, ending in _STARTS.items() if data.startswith(start)), ".webp")


def _column(rows: Any, column: str) -> Iterator[Any]:
    for start in range(0, len(rows), _BATCH):
        yield from rows[start : start + _BATCH][column]


def _said(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:300]}"


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["max_bytes"], asked["max_bytes"]))
        try:
            said = {"files": files, "convert": convert}[asked["what"]](asked)
        except Unusable as error:
            said = {"problem": str(error)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
