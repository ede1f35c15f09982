"""Files that describe a job."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from warpadam.commands.output import BadInput


class _Loader(yaml.SafeLoader):
    """YAML as its newer version and all of JSON have it: 1e-3 is a number, which PyYAML reads as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)


def read_spec(file: Path) -> dict[str, Any]:
    """Raises BadInput for what is no description, before the service is asked."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        spec = yaml.load(text, _Loader)  # JSON is YAML; a SafeLoader, which makes plain values only
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no UTF-8, or a date that is none
        raise BadInput(f"{file} is neither YAML nor JSON: {' '.join(str(error).split())}") from error
    if not isinstance(spec, dict):
        raise BadInput(f"{file} must hold a mapping: a job's description with family, dataset, task and model")
    try:
        json.dumps(spec, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{file} has a value that JSON has not (a date? quote it): {error}") from error
    return spec
