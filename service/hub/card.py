"""What a repository says of its own files, in the front matter of its README: read, checked, and written down anew.

The library would follow whatever stands there, to any path of this machine and any address. So it gets no word of it
but those that are known here, with paths that stay inside.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from service.errors import InvalidRequest
from service.hub.client import is_inside

_MAX_BYTES = 2**20
_PLAIN = ("sep", "delimiter", "names", "header", "field", "encoding", "drop_labels", "drop_metadata", "default")
_FENCE = "---"


def rewritten(readme: bytes, *, only: tuple[str, Mapping[str, list[str]]] | None = None) -> str:
    """The front matter with its configurations and their columns' types, nothing else.

    `only`: of this configuration, whose splits are exactly these files. Raises InvalidRequest.
    """
    told = _front_matter(readme)
    configs = [_config(each) for each in _dicts(told.get("configs"))]
    infos = [_info(each) for each in _dicts(told.get("dataset_info"))]
    if only is not None:
        name, files = only
        known = next((each for each in configs if each["config_name"] == name), {"config_name": name})
        known.pop("data_dir", None)
        splits = [{"split": split, "path": list(paths)} for split, paths in files.items()]
        configs = [{**known, "data_files": splits}]
        infos = [each for each in infos if each["config_name"] == name]
    kept = {key: value for key, value in (("configs", configs), ("dataset_info", infos)) if value}
    return f"{_FENCE}\n{yaml.safe_dump(kept, sort_keys=False)}{_FENCE}\n"


def _front_matter(readme: bytes) -> dict[str, Any]:
    text = readme[:_MAX_BYTES].decode(errors="replace").lstrip("\ufeff").replace("\r\n", "\n")
    if not text.startswith(f"{_FENCE}\n"):
        return {}
    block, closed, _ = text.removeprefix(f"{_FENCE}\n").partition(f"\n{_FENCE}")
    if not closed:
        return {}
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(block)):
            raise ValueError("aliases")  # a few lines of them can unfold to gigabytes
        found = yaml.safe_load(block)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refused("its README has a front matter that is no plain YAML") from error
    return found if isinstance(found, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    found = value if isinstance(value, list) else [value]
    return [each for each in found if isinstance(each, dict)]


def _config(given: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {"config_name": str(given.get("config_name", "default"))}
    config |= {name: given[name] for name in _PLAIN if name in given}
    if "data_dir" in given:
        config["data_dir"] = _path(given["data_dir"])
    if "data_files" in given:
        config["data_files"] = _data_files(given["data_files"])
    return config


def _info(given: dict[str, Any]) -> dict[str, Any]:
    info = {"config_name": str(given.get("config_name", "default"))}
    return {**info, "features": given["features"]} if isinstance(given.get("features"), list) else info


def _data_files(given: object) -> object:
    if isinstance(given, str):
        return _path(given)
    if isinstance(given, list):
        return [_data_files(each) for each in given]
    if isinstance(given, dict) and set(given) <= {"split", "path"}:
        return {name: str(value) if name == "split" else _data_files(value) for name, value in given.items()}
    raise _refused("its README says in no known way which files are its data")


def _path(given: object) -> str:
    if not isinstance(given, str) or not is_inside(given):
        raise _refused("its README names files that are not its own")
    return given


def _refused(reason: str) -> InvalidRequest:
    return InvalidRequest(f"This data set of the hub cannot be used: {reason}.", param="uri")
