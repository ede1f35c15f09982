"""From an entrypoint to a trainable module, and what is said of one that is not. The code here is the tests' own."""

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.data.packages import unpack
from tests.workers.code.packed import NET, code_plan
from tests.workers.plans import Learner, Listener
from warpadam import Warp
from warpadam.learn import Contribution
from workers import checkpoints
from workers.code import blame
from workers.code.blame import BadModelError
from workers.code.build import build, check_outputs
from workers.group import Group
from workers.plan import Plan
from workers.preparing import prepare_model
from workers.tasks.data import Split
from workers.train import train

HEAD = "import torch, sys\nfrom torch import nn\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the package lies; no other test finds its module."""
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("net", None)


def here(folder: Path, source: str = NET, **fields: Any) -> Plan:
    plan = code_plan(source, **fields)
    assert plan.package is not None
    unpack(plan.package, folder)
    return replace(plan, code_folder=str(folder))


def test_the_same_seed_gives_the_same_weights(folder: Path) -> None:
    plan = here(folder)
    first, second = (build(plan, folder).module.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert len(build(replace(plan, spec=code_plan(kwargs={"hidden": 5}).spec), folder).module.first.weight) == 5  # type: ignore[arg-type]


def returning(expression: str) -> str:
    return f"{HEAD}def build(input_shape, outputs):\n    return {expression}\n"


def forwarding(expression: str) -> str:
    return (
        f"{HEAD}class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.a = nn.Linear(6, 3)\n    def forward(self, x):\n        return {expression}\n"
        "def build(input_shape, outputs):\n    return Net()\n"
    )


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (returning("None"), "must return a torch.nn.Module, and returned None"),
        (returning("nn.Linear(6, 3).weight"), "returned a Parameter"),
        (returning("nn.ReLU()"), "nothing to train"),
        (returning("nn.LazyLinear(3)"), "use layers that are not lazy"),
        (returning("nn.Linear(6, 3).double()"), "weight is torch.float64: use float32"),
        (returning("nn.Linear(6, 3, device='meta')"), "weight is on meta"),
        (returning("nn.init.constant_((m := nn.Linear(6, 3)).weight, float('nan')) is None or m"), "no finite numbers"),
        (returning("nn.Linear(6, 4)"), r"must return the shape \(4, 3\) here, and returned \(4, 4\)"),
        (forwarding("(self.a(x), x)"), "must return one tensor, and returned a tuple"),
        (forwarding("self.a(x).long()"), "floating point numbers, and returned torch.int64"),
        (forwarding("self.a(x) / 0"), "no finite numbers on the first rows"),
        (f"{HEAD}build = 3\n", "has a int, not a function, as build"),
        (f"{HEAD}", "the module net defines no build"),
        (NET.replace('"input:6"', '"input:5"'), r"warp_axes\['first.weight'\]\[1\] is input:5"),
    ],
)
def test_a_module_that_cannot_be_trained_is_told_what_to_change(folder: Path, source: str, says: str) -> None:
    with pytest.raises(BadModelError, match=says):
        prepare_model(here(folder, source), Group())


def test_later_outputs_are_looked_at_too() -> None:
    with pytest.raises(BadModelError, match=r"\(8, 1\) here, and returned \(8,\)"):
        check_outputs(torch.zeros(8), (8, 1))


@pytest.mark.parametrize(
    ("source", "code", "says"),
    [
        (returning("[][1]"), "code_failed", 'list index out of range\nTraceback of your code:\n  File "net.py"'),
        (f"{HEAD}import nowhere_to_be_found\n", "code_failed", "ModuleNotFoundError: No module named 'nowhere"),
        (f"{HEAD}sys.exit(4)\n", "code_exited", "Your code called sys.exit(4)"),
        (f"{HEAD}raise KeyboardInterrupt\n", "code_failed", "raised KeyboardInterrupt"),
        (returning("(_ for _ in ()).throw(MemoryError())"), "out_of_memory", "lower training.batch_size"),
        (forwarding("undefined(x)"), "code_failed", "line 8, in forward\n    return undefined(x)"),
        (returning("nn.Linear(5, 3)"), "code_failed", "shapes cannot be multiplied"),
        (returning("nn.Module() if (m := nn.Module()).register_parameter('p', nn.Parameter(torch.ones(1))) else m"),
         "code_failed", "raised outside the files of your package"),
        (f"{HEAD}def f(n):\n    return f(n)\ndef build(i, o):\n    return f(1)\n", "code_failed", "  …\n"),
    ],
)  # fmt: skip
def test_its_failures_are_its_own_and_told_with_its_frames_only(
    folder: Path, source: str, code: str, says: str
) -> None:
    plan = here(folder, source)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # whatever it is
        prepare_model(plan, Group())
    cause = blame.cause_of(caught.value, folder)
    assert (cause.category, cause.code) == ("user", code)
    assert says in cause.message
    assert "workers/" not in cause.message
    assert str(folder) not in cause.message
    assert len(cause.message) < 4000


def test_a_lost_peer_is_no_failure_of_the_code(folder: Path) -> None:
    assert blame.cause_of(RuntimeError("Connection closed by peer"), folder).category == "infrastructure"


def test_it_trains_contributes_and_resumes_like_a_model_of_ours(folder: Path) -> None:
    """Stopped half-way and taken up again, batch norm, dropout and all, it ends with the very same weights."""
    plan, learner = here(folder, anchor="0123456789ab"), Learner()
    whole, first, second = Listener(), Listener("pause", stop_after=7), Listener()
    train(plan, Group(), whole, learner)
    sent = [Contribution.decode(each) for each in learner.sent if each]
    assert sum(each.steps for each in sent) == 20
    assert {"input:6", "output:3", "param:first.weight:0:8@0123456789ab"} <= sent[0].sums.keys()
    train(plan, Group(), first, Learner())
    saved = first.saved[-1]
    assert saved.step == 7
    resumed = replace(plan, resume_model=saved.model, resume_state=saved.state)
    train(resumed, Group(), second, Learner())
    assert second.saved[-1].model == whole.saved[-1].model


def test_a_p_without_its_axes_is_a_warning_and_one_with_them_is_used(folder: Path) -> None:
    plan, told = here(folder, warp_version=3), Listener()
    other = Warp({"input:9": torch.eye(9)}).to_bytes()
    train(replace(plan, warp=other), Group(), told, Learner())
    (warning,) = told.events("warning")
    assert "P version 3 has no axis of this model: it has input:9, the model input:6, output:3" in warning.message
    flipped = Warp({"input:6": torch.linalg.qr(torch.randn(6, 6)).Q, "output:3": torch.eye(3)}).to_bytes()
    plain, turned = Listener(), Listener()
    train(plan, Group(), plain, Learner())
    train(replace(plan, warp=flipped), Group(), turned, Learner())
    assert not turned.events("warning")
    assert told.points("train_loss") == plain.points("train_loss") != turned.points("train_loss")


def test_the_example_of_the_documents_trains(folder: Path, root: Path) -> None:
    source = re.search(r"```python\n# mymodels/gated.py\n(.*?)```", (root / "docs/code.md").read_text(), re.DOTALL)
    assert source is not None
    plan, told, learner = here(folder, source[1], kwargs={"hidden": 12}), Listener(), Learner()
    train(plan, Group(), told, learner)
    losses = [value for _, value in told.points("val_loss")]
    assert losses[-1] < losses[0]
    assert learner.sent[0] is not None
    assert Contribution.decode(learner.sent[0]).sums.keys() == {"input:6", "output:3"}


WORDS = f"""{HEAD}
class Words(nn.Module):
    def __init__(self, context, width):
        super().__init__()
        self.table = nn.Embedding(256, width)
        self.warp_axes = {{"table.weight": ("tokens.in:256", None)}}
        self.places = nn.Parameter(torch.randn(context, width))
    def forward(self, tokens):
        return (self.table(tokens) + self.places[: tokens.shape[1]]) @ self.table.weight.T
def build(input_shape, outputs, context, width=4):
    assert input_shape == (context,) and outputs == 256
    return Words(context, width)
"""


def test_text_comes_in_windows(folder: Path) -> None:
    kwargs = {"context": 8}
    plan = here(folder, WORDS, kwargs=kwargs)
    data = np.frombuffer(b"the quick brown fox " * 40, np.uint8)
    split = Split(data[:600], np.empty(0, np.int64), data[600:], np.empty(0, np.int64))
    model = {"entrypoint": "net:build", "package": "0" * 64, "kwargs": kwargs, "context": 8, "vocabulary": 256}
    spec = plan.spec.model_copy(update={"task": "language_modeling"})
    told = Listener()
    train(replace(plan, spec=spec, split=split, model=model), Group(), told, Learner())
    losses = [value for _, value in told.points("val_loss")]
    assert losses[-1] < losses[0]


def test_weights_that_are_shared_are_saved_under_both_names() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    model[1].weight = model[0].weight
    data = checkpoints.encode_model(model)
    with torch.no_grad():
        model[0].weight.zero_()
    checkpoints.load_model(model, data)
    assert model[1].weight.abs().sum() > 0
