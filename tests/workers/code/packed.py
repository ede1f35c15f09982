"""Packages of user code, and plans that run them."""

import hashlib
import io
import zipfile
from dataclasses import replace
from typing import Any

from service.spec import JobSpec
from tests.workers.plans import plan
from workers.plan import Plan

NET = """
import torch
from torch import nn


class Net(nn.Module):
    warp_axes = {"first.weight": (None, "input:6"), "last.weight": ("output:3", None)}

    def __init__(self, inputs, outputs, hidden):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.BatchNorm1d(hidden)
        self.drop = nn.Dropout(0.1)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x):
        return self.last(self.drop(torch.relu(self.norm(self.first(x)))))


def build(input_shape, outputs, hidden=8):
    return Net(input_shape[0], outputs, hidden)
"""


def packed(files: dict[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # of no time, so that equal files are equal packages
    return file.getvalue()


def code_plan(source: str = NET, kwargs: dict[str, Any] | None = None, **fields: Any) -> Plan:
    """A plan whose model is `net:build` of a package of one module."""
    package = packed({"net.py": source})
    made = plan(**fields)
    model = {"entrypoint": "net:build", "package": "ds_code", "kwargs": kwargs or {}}
    spec = JobSpec.model_validate({**made.spec.model_dump(mode="json"), "model": model})
    sha256 = hashlib.sha256(package).hexdigest()
    resolved = {**model, "package": sha256, "input": [6], "output": 3}
    return replace(made, spec=spec, package=package, model=resolved, confinement="preferred")
